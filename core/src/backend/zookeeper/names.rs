//! Which nodes a lock has, in the form that Curator gives them.
//!
//! The lock `a/b` is the node `/leasehold/a%2Fb`. Whoever holds it or waits has a child
//! there, named `_c_<uuid>-lock-0000000007` as Curator's `InterProcessMutex` does; the uuid
//! is our owner, and the number at the end says where it stands.

use std::fmt::Write as _;

use percent_encoding::percent_decode_str;

use crate::name::{LockName, Owner};

/// All nodes of one client's locks.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    /// Without a `/` at its end.
    base: String,
}

/// What the name of an exclusive child has before its number.
const LOCK: &str = "-lock-";
/// What comes before the number in the names of all who use a lock: ours and those of Curator's
/// `InterProcessMutex`, of kazoo's `Lock`, and of the readers and writers of both.
const WORDS: [&str; 5] = ["lock-", "__lock__", "__rlock__", "__READ__", "__WRIT__"];

impl Tree {
    pub(super) fn new(base: &str) -> Self {
        Self { base: base.trim_end_matches('/').to_owned() }
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// The node of a lock.
    pub(super) fn lock(&self, name: &LockName) -> String {
        format!("{}/{}", self.base, escaped(name.as_str()))
    }

    /// What the path of an owner's child begins with.
    pub(super) fn child(&self, name: &LockName, owner: Owner) -> String {
        format!("{}/{}", self.lock(name), prefix(owner))
    }

    /// The lock that a child, or something else below its node, belongs to.
    pub(super) fn lock_of(&self, path: &str) -> Option<LockName> {
        let (node, _) = path.strip_prefix(&self.base)?.strip_prefix('/')?.split_once('/')?;
        name_of(node)
    }

    /// The node that is written when somebody takes a lock from its holder: no lock's.
    pub(super) fn evicted(&self) -> String {
        format!("{}/%evicted", self.base)
    }
}

/// What the name of an owner's child begins with.
pub(super) fn prefix(owner: Owner) -> String {
    let bits = format!("{owner}");
    let (a, b, c, d, e) = (&bits[..8], &bits[8..12], &bits[12..16], &bits[16..20], &bits[20..]);
    format!("_c_{a}-{b}-{c}-{d}-{e}{LOCK}")
}

/// Whose child this is, if it is one of ours.
pub(super) fn owner_of(path: &str) -> Option<Owner> {
    let (uuid, _) = path.rsplit_once("/_c_")?.1.split_once(LOCK)?;
    let is_uuid = uuid.len() == 36 && uuid.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
    let bits = is_uuid.then(|| uuid.replace('-', ""))?;
    u128::from_str_radix(&bits, 16).ok().map(Owner::from_bits)
}

/// The lock that a node of the base is.
pub(super) fn name_of(node: &str) -> Option<LockName> {
    let name = percent_decode_str(node).decode_utf8().ok()?;
    let name = LockName::new(&name).ok()?;
    // What is written otherwise is no lock of ours.
    (escaped(name.as_str()) == node).then_some(name)
}

/// A name as one node. ZooKeeper has no `/`, `.`, `..` or control characters there.
fn escaped(name: &str) -> String {
    let dots = matches!(name, "." | "..");
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'/' | b'%' => drop(write!(out, "%{byte:02X}")),
            b'.' if dots => out.push_str("%2E"),
            b'!'..=b'~' => out.push(char::from(byte)),
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

/// The number at the end of a name, as a server writes it: ten characters, and one more for
/// the sign of a large one below zero.
pub(super) fn number_of(text: &str) -> Option<i32> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_long = text.len() == 10 || (text.len() == 11 && digits.len() == 10);
    (is_long && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Somebody who stands in the line of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stander {
    /// The name of its child.
    pub(super) node: String,
    number: i32,
}

impl Stander {
    /// One that counts; other nodes may be there and are none of our business.
    pub(super) fn read(node: String) -> Option<Self> {
        let at = |word: &str| node.rfind(word).map(|at| at + word.len());
        let number = WORDS.iter().filter_map(|word| at(word)).max().map(|at| &node[at..])?;
        let number = number_of(number)?;
        Some(Self { node, number })
    }
}

/// Those who stand in line, of the children of a lock's node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line(Vec<Stander>);

impl Line {
    pub(super) fn of(children: Vec<String>) -> Self {
        let mut line: Vec<_> = children.into_iter().filter_map(Stander::read).collect();
        // Beside those who came after a wrap there is none from long before it. So it is
        // an order, from whoever there is that nobody stands before.
        let Some(some) = line.first().map(|first| first.number) else { return Self(line) };
        line.sort_by_key(|stander| stander.number.wrapping_sub(some));
        Self(line)
    }

    pub(super) fn standers(&self) -> &[Stander] {
        &self.0
    }

    /// Those before this one; `None` if it is not there.
    pub(super) fn before(&self, node: &str) -> Option<&[Stander]> {
        let at = self.0.iter().position(|stander| stander.node == node)?;
        Some(&self.0[..at])
    }

    /// The child that was created for an owner.
    pub(super) fn of_owner(&self, owner: Owner) -> Option<&Stander> {
        let prefix = prefix(owner);
        self.0.iter().find(|stander| stander.node.starts_with(&prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> LockName {
        LockName::new(name).unwrap()
    }

    #[test]
    fn every_name_is_one_node_and_found_again_by_it() {
        let tree = Tree::new("/leasehold/");
        for one in ["a", "a/b", "..", ".", "...", "%", "%2F", "é", "a\nb", " ", "%evicted", "🔒"]
        {
            let node = tree.lock(&name(one));
            let below = node.strip_prefix("/leasehold/").unwrap();
            assert!(!below.contains('/') && below != "." && below != "..", "{node}");
            assert!(node.bytes().all(|byte| byte.is_ascii_graphic()), "{node}");
            assert_eq!(tree.lock_of(&format!("{node}/x")), Some(name(one)));
            assert_ne!(node, tree.evicted());
        }
        assert_eq!(tree.lock(&name("invoices/42")), "/leasehold/invoices%2F42");
        assert_eq!(tree.lock_of("/leasehold/a%2fb/x"), None, "not as we write it");
        assert_eq!(tree.lock_of("/other/a/x"), None);
    }

    #[test]
    fn a_child_is_named_as_curator_does_and_both_respect_each_other() {
        let owner = Owner::from_bits(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        let ours = "_c_01234567-89ab-cdef-0123-456789abcdef-lock-";
        let path = format!("/leasehold/x/{ours}");
        assert_eq!(Tree::new("/leasehold").child(&name("x"), owner), path);
        assert_eq!(owner_of(&format!("{path}0000000007")), Some(owner));
        assert_eq!(owner_of("/leasehold/x/_c_-lock-0000000007"), None);
        let children = [
            &*format!("{ours}0000000007"),
            "00000000000000000000000000000000__lock__0000000006",
            "_c_00000000-0000-0000-0000-000000000000-lock-0000000005",
            "lock-0000000004",
            "_c_00000000-0000-0000-0000-000000000000-__READ__0000000008",
            "something-else",
            "lock-12",
            "lock-+000000001",
        ];
        let line = Line::of(children.map(str::to_owned).to_vec());
        let numbers: Vec<_> = line.standers().iter().map(|stander| stander.number).collect();
        assert_eq!(numbers, [4, 5, 6, 7, 8]);
        assert_eq!(line.of_owner(owner).unwrap().number, 7);
        assert_eq!(line.before(children[0]).unwrap().len(), 3);
        assert_eq!(line.before("lock-0000000009"), None);
    }

    #[test]
    fn the_order_goes_on_where_the_number_wraps() {
        let node = |number: i32| format!("lock-{number:010}");
        let first = i32::MAX - 1;
        let numbers = [first, first + 1, i32::MIN, i32::MIN + 1];
        assert_eq!([node(i32::MIN), node(-5)], ["lock--2147483648", "lock--000000005"]);
        for turn in 0..4 {
            let mut children: Vec<_> = numbers.iter().map(|number| node(*number)).collect();
            children.rotate_left(turn);
            children.swap(0, 2);
            let line = Line::of(children);
            let found: Vec<_> = line.standers().iter().map(|stander| stander.number).collect();
            assert_eq!(found, numbers);
        }
    }
}
