use super::*;

struct AnsweredAtOnce;

impl Caller for AnsweredAtOnce {
    async fn call(&mut self, _number: u64) -> Result<()> {
        Ok(())
    }
}

#[test]
fn each_turn_has_all_variants_and_another_one_first() {
    let mut variants = ["a", "b", "c"];
    let turns = (0..4).map(|turn| {
        let all = in_turn(&mut variants, turn).map(|name| *name);
        all.collect::<String>()
    });
    let turns: Vec<_> = turns.collect();
    assert_eq!(turns, ["abc", "bca", "cab", "abc"]);
    assert_eq!(in_turn::<()>(&mut [], 1).count(), 0);
}

#[tokio::test]
async fn turns_add_up_until_they_are_taken() -> Result<()> {
    let (span, own) = (Duration::from_millis(200), std::process::id());
    let mut turns = Turns::new()?;
    // One caller, whose calls are numbered in a row.
    let first = turns
        .ask(&mut [AnsweredAtOnce], Some(own), None, span)
        .await?;
    let second = turns
        .ask(&mut [AnsweredAtOnce], Some(own), Some(1e3), span)
        .await?;
    let both = turns.take()?;
    assert_eq!(both.measured().calls, first + second);
    assert!(both.cpu().is_some());
    assert_eq!(turns.measured().calls, 0);
    assert_eq!(turns.cpu(), None);
    Ok(())
}

#[tokio::test]
async fn the_processor_time_of_a_stranger_is_not_told() -> Result<()> {
    let mut turns = Turns::new()?;
    let span = Duration::from_millis(20);
    turns.ask(&mut [AnsweredAtOnce], None, None, span).await?;
    assert_eq!(turns.cpu(), None);
    Ok(())
}
