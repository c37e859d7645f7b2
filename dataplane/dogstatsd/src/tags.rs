//! Tags that steer: magic ones set a scope, internal ones name a container.

use std::iter;

use memchr::memchr_iter;
use veneur_metric::{Scope, Tags};

/// The tags of a context, from the tag section as sent.
///
/// Left out are the magic tag that set the scope (a second one is an ordinary tag, as in the original) and
/// `dd.internal.*`: clients in a container add its identity there, and a series per pod is what nobody asked for.
/// Bytes that are not UTF-8 are replaced.
pub fn context_tags(raw: &[u8]) -> Tags {
    let text = String::from_utf8_lossy(raw);
    let magic = text.split(',').position(|tag| magic(tag.as_bytes()).is_some());
    let ordinary = text.split(',').enumerate().filter(|(at, _)| Some(*at) != magic).map(|(_, tag)| tag);
    Tags::new(ordinary.filter(|tag| !tag.starts_with("dd.internal.")))
}

/// The scope that the first magic tag asks for.
pub(crate) fn scope(raw: &[u8]) -> Scope {
    let starts = iter::once(0).chain(memchr_iter(b',', raw).map(|comma| comma + 1));
    starts.map(|start| &raw[start..]).find_map(magic).unwrap_or_default()
}

/// A tag is magic by its prefix: `veneurglobalonly`, but also `veneurglobalonly:true`.
fn magic(tag_and_more: &[u8]) -> Option<Scope> {
    let rest = tag_and_more.strip_prefix(b"veneur")?;
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
        assert_eq!(scope(b"b,veneurlocalonly:x,veneurglobalonly"), Scope::Local);
        assert_eq!(context_tags(b"b,veneurlocalonly:x,veneurglobalonly,a").joined(), "a,b,veneurglobalonly");
        assert_eq!(scope(b"a:veneurglobalonly,veneur"), Scope::Mixed);
    }

    #[test]
    fn no_container_identity_and_no_empty_tag_enters_a_context() {
        assert_eq!(context_tags(b"b,,dd.internal.entity_id:4f,dd.internal.card:low,a:\xff").joined(), "a:\u{fffd},b");
        assert_eq!(context_tags(b""), Tags::none());
    }
}
