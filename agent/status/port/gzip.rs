//! Answers that are packed while they are sent.

use std::{
    convert::Infallible,
    io::Write as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, VARY},
};
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use hyper::body::{Body, Frame};

use super::super::web::Reply;

/// The same answer, packed if whoever asks can unpack it and if it is not short.
pub(super) fn packed(asked: &HeaderMap, reply: Reply) -> Reply {
    let short = reply.body().size_hint().exact().is_some_and(|length| length < SHORTEST);
    if short || !takes_gzip(asked) {
        return reply;
    }
    let (mut head, body) = reply.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    let packer = Some(GzEncoder::new(Vec::new(), Compression::fast()));
    Reply::from_parts(head, Packed { body, packer }.boxed_unsync())
}

/// Whether gzip is among what is accepted.
fn takes_gzip(asked: &HeaderMap) -> bool {
    let said = asked.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    said.flat_map(|value| value.split(',')).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let much = parts.find_map(|part| part.strip_prefix("q="));
        let much = much.map_or(Some(1.0), |much| much.parse::<f32>().ok());
        name.eq_ignore_ascii_case("gzip") && much.is_some_and(|much| much > 0.0)
    })
}

/// A body that is packed piece by piece.
struct Packed {
    body: UnsyncBoxBody<Bytes, Infallible>,
    /// None when it has ended.
    packer: Option<GzEncoder<Vec<u8>>>,
}

impl Body for Packed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        while self.packer.is_some() {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
            // To write into memory cannot fail.
            let packed = match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(piece))) => self.packer.as_mut().map(|packer| {
                    packer.write_all(&piece).ok();
                    std::mem::take(packer.get_mut())
                }),
                Some(_) => None,
                None => self.packer.take().and_then(|packer| packer.finish().ok()),
            };
            if let Some(packed) = packed.filter(|packed| !packed.is_empty()) {
                return Poll::Ready(Some(Ok(Frame::data(packed.into()))));
            }
        }
        Poll::Ready(None)
    }
}

/// What is shorter is hardly shorter when it is packed.
const SHORTEST: u64 = 1024;

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use http::StatusCode;

    use super::{super::super::web, *};

    fn accepting(said: &'static str) -> HeaderMap {
        [(ACCEPT_ENCODING, HeaderValue::from_static(said))].into_iter().collect()
    }

    #[test]
    fn it_is_packed_for_whoever_takes_it() {
        let table = [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip;q=x", false),
            ("br", false),
            ("", false),
        ];
        for (said, packs) in table {
            assert_eq!(takes_gzip(&accepting(said)), packs, "{said}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn what_is_packed_is_what_is_unpacked_and_short_answers_stay() {
        let table =
            [("a".repeat(1023), false), ("ab".repeat(512), true), ("abc".repeat(99_999), true)];
        for (text, packs) in table {
            let reply = web::whole(StatusCode::OK, web::TEXT, text.clone());
            let reply = packed(&accepting("gzip"), reply);
            assert_eq!(reply.headers().contains_key(CONTENT_ENCODING), packs);
            let body = reply.into_body().collect().await.unwrap().to_bytes();
            let mut unpacked = String::new();
            if packs {
                assert!(body.len() < text.len());
                GzDecoder::new(&body[..]).read_to_string(&mut unpacked).unwrap();
            } else {
                unpacked.push_str(std::str::from_utf8(&body).unwrap());
            }
            assert_eq!(unpacked, text);
        }
    }
}
