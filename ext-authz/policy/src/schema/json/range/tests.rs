use regex_automata::meta::Regex;

use super::between;

#[test]
fn exactly_the_numbers_within_are_matched() {
    for (low, high) in [
        (1, 1),
        (1, 9),
        (1, 24),
        (1, 1440),
        (7, 13),
        (30, 86),
        (99, 101),
        (190, 2010),
        (1000, 1999),
    ] {
        let pattern = between(low, high).expect("numbers");
        let regex = Regex::new(&format!("^({pattern})$")).expect("an expression");
        for number in 0..=2500 {
            let (within, text) = ((low..=high).contains(&number), number.to_string());
            assert_eq!(
                regex.is_match(&text),
                within,
                "{number} of {low} to {high}: {pattern}"
            );
            assert_eq!(regex.is_match(&format!("00{text}")), within);
        }
    }
    assert_eq!(between(2, 1), None);
}
