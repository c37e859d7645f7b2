//! Tags that steer: magic ones set a scope, internal ones name a container.

use veneur_metric::{Scope, Tags};

/// What a tag section says of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explicit {
    /// The ordinary tags, in canonical order.
    pub tags: Tags,
    /// The scope that the first magic tag asks for; mixed without one.
    pub scope: Scope,
}

/// The tags of a context and its scope, from the tag section as sent.
///
/// Left out are the magic tag that set the scope (a second one is an ordinary tag, as in the original) and
/// `dd.internal.*`: clients in a container add its identity there, and a series per pod is what nobody asked for.
/// Bytes that are not UTF-8 are replaced.
pub fn context_tags(raw: &[u8]) -> Explicit {
    let text = String::from_utf8_lossy(raw);
    let asked = text.split(',').enumerate().find_map(|(at, tag)| Some((at, magic(tag.as_bytes())?)));
    let (at, scope) = asked.map_or((None, Scope::Mixed), |(at, scope)| (Some(at), scope));
    let ordinary = text.split(',').enumerate().filter(|(index, _)| Some(*index) != at).map(|(_, tag)| tag);
    Explicit { tags: Tags::new(ordinary.filter(|tag| !tag.starts_with("dd.internal."))), scope }
}

/// A tag is magic by its prefix: `veneurglobalonly`, but also `veneurglobalonly:true`.
fn magic(tag: &[u8]) -> Option<Scope> {
    let rest = tag.strip_prefix(b"veneur")?;
    if rest.starts_with(b"localonly") {
        Some(Scope::Local)
    } else if rest.starts_with(b"globalonly") {
        Some(Scope::Global)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_magic_tag_is_taken_out() {
        let Explicit { tags, scope } = context_tags(b"b,veneurlocalonly:x,veneurglobalonly,a");
        assert_eq!((tags.joined(), scope), ("a,b,veneurglobalonly", Scope::Local));
        assert_eq!(context_tags(b"a:veneurglobalonly,veneur").scope, Scope::Mixed);
    }

    #[test]
    fn no_container_identity_and_no_empty_tag_enters_a_context() {
        let tags = context_tags(b"b,,dd.internal.entity_id:4f,dd.internal.card:low,a:\xff").tags;
        assert_eq!(tags.joined(), "a:\u{fffd},b");
        assert_eq!(context_tags(b"").tags, Tags::none());
    }
}
