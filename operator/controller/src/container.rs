//! What a kubelet says of a container that does not run, in words to pass on.

use k8s_openapi::api::core::v1::ContainerStateTerminated;

/// Whether a container waits for its image, and will not get it.
pub(crate) fn lacks_its_image(waits_for: &str) -> bool {
    matches!(
        waits_for,
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" | "RegistryUnavailable"
    )
}

/// The last line that a process wrote before it ended, as far as the kubelet kept it.
pub(crate) fn last_line(ended: &ContainerStateTerminated) -> Option<&str> {
    ended.message.as_deref().unwrap_or_default().lines().rev().find(|line| !line.trim().is_empty())
}

/// The first `longest` characters of a foreign text.
pub(crate) fn shorten(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
