//! Laws of the vocabulary.

use proptest::prelude::*;
use veneur_metric::Tags;

proptest! {
    #[test]
    fn permuting_tags_changes_nothing(
        (tags, shuffled) in prop::collection::vec("[a-z]{0,3}(:[a-z,]{0,3})?", 0..8)
            .prop_flat_map(|tags| (Just(tags.clone()), Just(tags).prop_shuffle()))
    ) {
        prop_assert_eq!(
            Tags::new(tags.iter().map(String::as_str)),
            Tags::new(shuffled.iter().map(String::as_str))
        );
    }

    #[test]
    fn canonical_tags_are_a_fixed_point(tags in prop::collection::vec("[a-z:,]{0,5}", 0..8)) {
        let once = Tags::new(tags.iter().map(String::as_str));
        prop_assert_eq!(&Tags::new(once.iter()), &once);
        prop_assert_eq!(&Tags::new([once.joined()]), &once);
    }
}
