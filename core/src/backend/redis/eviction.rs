//! Whether a server may throw locks away.

use ::redis::Value;

use super::failure::Failure;

/// What `INFO memory` says about it, in words; nothing where that is not allowed.
pub(super) fn caveat(answer: &Result<Value, Failure>) -> Option<String> {
    let Ok(Value::BulkString(text)) = answer else { return None };
    let text = String::from_utf8_lossy(text);
    let field = |name: &str| {
        text.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
    };
    let (policy, limit) = (field("maxmemory_policy")?, field("maxmemory")?);
    (policy != "noeviction" && limit != "0").then(|| {
        format!(
            "maxmemory-policy is {policy}: when memory runs out, the server may throw away a lock \
             that is held, and two hold it; set it to noeviction, or keep locks on a server of \
             their own"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_that_evicts_and_has_a_limit_is_named() {
        let said = |policy, limit| {
            let text = format!("# Memory\r\nmaxmemory:{limit}\r\nmaxmemory_policy:{policy}\r\n");
            caveat(&Ok(Value::BulkString(text.into_bytes())))
        };
        assert!(said("volatile-lru", "1000").is_some_and(|text| text.contains("volatile-lru")));
        assert_eq!(said("allkeys-lru", "0"), None);
        assert_eq!(said("noeviction", "1000"), None);
        assert_eq!(caveat(&Err(Failure::refusal("NOPERM no"))), None);
    }
}
