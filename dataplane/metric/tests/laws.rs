//! Laws of the vocabulary.

use proptest::prelude::*;
use veneur_metric::{Condition, Tags, Turn};

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

    #[test]
    fn a_condition_begins_and_ends_in_turn_and_counts_what_it_met(
        quiet in 0_u32..4,
        looks in prop::collection::vec(prop_oneof![Just(0_u64), 1_u64..5], 0..60),
    ) {
        let mut condition = Condition::new(quiet);
        let (mut lasts, mut met, mut without) = (false, 0, 0);
        for times in looks {
            met += times;
            without = if times > 0 { 0 } else { without + 1 };
            match condition.look(times) {
                Some(Turn::Begun) => {
                    prop_assert!(!lasts && times > 0, "it begins once, when it is met");
                    lasts = true;
                }
                Some(Turn::Over { times: told }) => {
                    prop_assert!(lasts && without == quiet.max(1), "over after {without} looks without it");
                    prop_assert_eq!(told, met);
                    (lasts, met) = (false, 0);
                }
                None => prop_assert!(lasts == (met > 0) && (!lasts || without < quiet.max(1)), "a turn was missed"),
            }
            prop_assert_eq!(condition.lasts(), lasts);
        }
    }
}
