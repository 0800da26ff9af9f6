use super::*;

#[test]
fn the_system_tells_of_this_process() {
    assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000));
    assert!(open_files().is_some_and(|files| files >= 3));
    assert!(cpu_seconds().is_some());
}
