//! What a command on its way to a server asks for, told by its shape.

/// A command as a proxy sees it.
pub(crate) type Command = [Vec<u8>];

/// The keys and the arguments of a script, without the last: the number of the
/// request.
fn script(command: &Command) -> Option<(&Command, &Command)> {
    let [name, _, count, rest @ ..] = command else { return None };
    let count: usize = std::str::from_utf8(count).ok()?.parse().ok()?;
    let (_, rest) = rest.split_last()?;
    (name == b"EVALSHA" && rest.len() >= count).then(|| rest.split_at(count))
}

pub(crate) fn is_renewal(command: &Command) -> bool {
    script(command).is_some_and(|(keys, arguments)| arguments.len() == keys.len() + 1)
}

pub(crate) fn is_claim(command: &Command) -> bool {
    // The third argument is the channel of the client that asks.
    script(command).is_some_and(|(keys, arguments)| {
        keys.len() == 4 && arguments.len() == 6 && arguments[2].starts_with(b"leasehold:")
    })
}

pub(crate) fn is_release(command: &Command) -> bool {
    script(command).is_some_and(|(keys, arguments)| {
        keys.len() == 4 && arguments.len() == 6 && !arguments[2].starts_with(b"leasehold:")
    })
}

pub(crate) fn is_withdrawal(command: &Command) -> bool {
    script(command).is_some_and(|(keys, arguments)| keys.len() == 4 && arguments.len() == 3)
}
