use std::collections::VecDeque;

use futures::FutureExt as _;
use http_body_util::{BodyExt as _, StreamBody};
use tonic::Code;

use super::*;

const MOST: usize = 100;

/// A body that arrives in `pieces`.
fn body(pieces: Vec<Vec<u8>>) -> impl Body<Data = Bytes, Error = Status> + Unpin {
    let frames = pieces
        .into_iter()
        .map(|piece| Ok(Frame::data(Bytes::from(piece))));
    StreamBody::new(futures::stream::iter(frames.collect::<VecDeque<_>>()))
}

fn told(length: u32, bytes: &[u8]) -> Vec<u8> {
    [&[0][..], &length.to_be_bytes(), bytes].concat()
}

fn read(pieces: Vec<Vec<u8>>) -> Result<Bytes, Status> {
    message(body(pieces), MOST).now_or_never().unwrap()
}

#[test]
fn a_message_is_read_in_however_many_pieces_it_comes() {
    let whole = told(5, b"hello");
    assert_eq!(read(vec![whole.clone()]).unwrap(), "hello");
    for at in 0..=whole.len() {
        let (one, other) = whole.split_at(at);
        assert_eq!(
            read(vec![one.to_vec(), other.to_vec()]).unwrap(),
            "hello",
            "{at}"
        );
    }
    let bytes = whole.iter().map(|byte| vec![*byte]).collect();
    assert_eq!(read(bytes).unwrap(), "hello");
    assert_eq!(read(vec![told(0, b"")]).unwrap(), "");
}

#[test]
fn a_second_message_is_refused() {
    let again = told(5, b"again");
    let together = [told(5, b"hello"), again.clone()].concat();
    for pieces in [vec![together], vec![told(5, b"hello"), again]] {
        assert_eq!(read(pieces).unwrap_err().code(), Code::Internal);
    }
}

#[test]
fn the_end_of_the_call_is_waited_for() {
    let (sender, frames) = futures::channel::mpsc::unbounded();
    let mut reading = Box::pin(message(StreamBody::new(frames), MOST));
    let send = |bytes: Vec<u8>| {
        let frame: Result<_, Status> = Ok(Frame::data(Bytes::from(bytes)));
        sender.unbounded_send(frame).unwrap();
    };
    send(told(5, b"hello"));
    assert!(reading.as_mut().now_or_never().is_none());
    send(Vec::new());
    assert!(reading.as_mut().now_or_never().is_none());
    drop(sender);
    assert_eq!(reading.now_or_never().unwrap().unwrap(), "hello");
}

#[test]
fn a_call_that_ends_before_its_message_is_refused() {
    for pieces in [
        vec![],
        vec![vec![]],
        vec![vec![0, 0, 0, 0]],
        vec![told(5, b"hell")],
        vec![told(u32::try_from(MOST).unwrap(), b"")],
    ] {
        assert_eq!(read(pieces).unwrap_err().code(), Code::Internal);
    }
}

#[test]
fn a_length_that_nobody_may_send_is_refused_before_anything_is_gathered() {
    for length in [101, u32::MAX] {
        let refused = read(vec![told(length, b"")]).unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange);
        assert!(refused.message().contains(&length.to_string()), "{refused}");
    }
}

#[test]
fn a_compressed_message_is_refused_with_the_way_out() {
    let mut compressed = told(5, b"hello");
    compressed[0] = 1;
    let refused = read(vec![compressed]).unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("identity"), "{refused}");
}

fn framed(text: &str) -> Result<Framed, Status> {
    Framed::new(text.len(), |bytes| bytes.extend_from_slice(text.as_bytes()))
}

#[test]
fn an_answer_is_one_message_and_then_that_all_went_well() {
    let response = answer(framed("granted"));
    assert_eq!(response.headers()[CONTENT_TYPE], "application/grpc");
    assert_eq!(response.body().size_hint().exact(), None);
    let collected = response
        .into_body()
        .collect()
        .now_or_never()
        .unwrap()
        .unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    let message = read(vec![collected.to_bytes().to_vec()]).unwrap();
    assert_eq!(message, "granted");
}

#[test]
fn a_long_answer_comes_in_pieces_that_are_written_together() {
    let text = "granted".repeat(1000);
    let mut body = answer(framed(&text)).into_body();
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().now_or_never().unwrap() {
        pieces.extend(frame.unwrap().into_data().ok());
    }
    assert!(pieces.iter().all(|piece| piece.len() <= PIECE));
    assert_eq!(pieces.len(), text.len() / PIECE + 1);
    assert_eq!(&pieces.concat()[PREFIX..], text.as_bytes());
}

#[test]
fn a_call_without_an_answer_tells_why_in_its_headers_alone() {
    let refused = Err(Status::invalid_argument("what\nnobody\u{e9} asked"));
    let response = answer(refused);
    assert_eq!(response.headers()["grpc-status"], "3");
    assert_eq!(
        response.headers()["grpc-message"],
        "what%0Anobody%C3%A9%20asked"
    );
    assert!(response.body().is_end_stream());
}
