//! Messages that are changed somewhere.

use fastrand::Rng;

/// A field's number and what it holds.
type Field = (u64, Value);

#[derive(Clone)]
enum Value {
    Number(u64),
    Fixed(Vec<u8>),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
}

/// What other messages have held, which is more likely to be believed than noise.
#[derive(Default)]
pub(super) struct Seen {
    numbers: Vec<u64>,
    bytes: Vec<Vec<u8>>,
}

impl Seen {
    const MOST: usize = 256;

    pub(super) fn look(&mut self, message: &[u8], random: &mut Rng) {
        if let Some(fields) = parse(message) {
            self.look_at(&fields, random);
        }
    }

    fn look_at(&mut self, fields: &[Field], random: &mut Rng) {
        for (_, value) in fields {
            match value {
                Value::Number(number) => keep(&mut self.numbers, *number, random),
                Value::Bytes(bytes) => keep(&mut self.bytes, bytes.clone(), random),
                Value::Fixed(_) => {}
                Value::Message(fields) => {
                    keep(&mut self.bytes, write(fields), random);
                    self.look_at(fields, random);
                }
            }
        }
    }
}

fn keep<T>(all: &mut Vec<T>, one: T, random: &mut Rng) {
    match all.len() < Seen::MOST {
        true => all.push(one),
        false => all[random.usize(..Seen::MOST)] = one,
    }
}

/// The same message, but for one field.
pub(super) fn change(message: &[u8], seen: &Seen, random: &mut Rng) -> Option<Vec<u8>> {
    let mut fields = parse(message)?;
    let mut at = random.usize(..count(&fields).max(1));
    change_at(&mut fields, &mut at, seen, random);
    Some(write(&fields))
}

fn count(fields: &[Field]) -> usize {
    let inside = |value: &Value| match value {
        Value::Message(fields) => count(fields),
        _ => 0,
    };
    fields.iter().map(|(_, value)| 1 + inside(value)).sum()
}

fn change_at(fields: &mut Vec<Field>, at: &mut usize, seen: &Seen, random: &mut Rng) -> bool {
    for index in 0..fields.len() {
        if *at == 0 {
            match random.u32(..8) {
                0 => drop(fields.remove(index)),
                1 => fields.insert(index, fields[index].clone()),
                2 => fields[index].0 = random.u64(1..12),
                _ => change_value(&mut fields[index].1, seen, random),
            }
            return true;
        }
        *at -= 1;
        if let Value::Message(inside) = &mut fields[index].1
            && change_at(inside, at, seen, random)
        {
            return true;
        }
    }
    false
}

fn change_value(value: &mut Value, seen: &Seen, random: &mut Rng) {
    match value {
        Value::Number(number) => {
            let other = random.choice(&seen.numbers).copied().unwrap_or(7);
            let (more, less) = (number.wrapping_add(1), number.wrapping_sub(1));
            let all = [0, 1, u64::MAX, i64::MAX as u64, 1 << 40, more, less, other, other, other];
            *number = all[random.usize(..all.len())];
        }
        Value::Bytes(_) | Value::Message(_) => {
            let other = random.choice(&seen.bytes).cloned().unwrap_or_default();
            *value = Value::Bytes(if random.u32(..4) == 0 { Vec::new() } else { other });
        }
        Value::Fixed(bytes) => bytes.reverse(),
    }
}

fn parse(mut message: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let number = tag >> 3;
        if !(1..=64).contains(&number) {
            return None;
        }
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut message)?),
            1 => Value::Fixed(take(&mut message, 8)?),
            5 => Value::Fixed(take(&mut message, 4)?),
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                let bytes = take(&mut message, length)?;
                match parse(&bytes).filter(|_| !bytes.is_empty()) {
                    Some(fields) => Value::Message(fields),
                    None => Value::Bytes(bytes),
                }
            }
            _ => return None,
        };
        fields.push((number, value));
    }
    Some(fields)
}

fn take(message: &mut &[u8], length: usize) -> Option<Vec<u8>> {
    let (taken, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(taken.to_vec())
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn write(fields: &[Field]) -> Vec<u8> {
    let mut message = Vec::new();
    for (number, value) in fields {
        let bytes = match value {
            Value::Number(value) => {
                put(&mut message, number << 3);
                put(&mut message, *value);
                continue;
            }
            Value::Fixed(bytes) => {
                put(&mut message, (number << 3) | if bytes.len() == 8 { 1 } else { 5 });
                message.extend(bytes);
                continue;
            }
            Value::Bytes(bytes) => bytes.clone(),
            Value::Message(fields) => write(fields),
        };
        put(&mut message, (number << 3) | 2);
        put(&mut message, bytes.len() as u64);
        message.extend(bytes);
    }
    message
}

fn put(message: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}
