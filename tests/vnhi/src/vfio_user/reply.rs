// SPDX-License-Identifier: GPL-2.0-only

//! Replies, gathered so that one `send` carries all replies of a batch.

use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::message::{Header, FLAG_ERROR, FLAG_REPLY};

/// Replies that wait to be sent.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
}

impl Outbox {
    /// Adds the reply to `request`; its payload is `parts`, one after the other.
    pub fn reply(&mut self, request: &Header, parts: &[&[u8]]) {
        let length = size_of::<Header>() + parts.iter().map(|part| part.len()).sum::<usize>();
        // Payloads are bounded by MAX_DATA, so a length that does not fit 32 bits cannot exist.
        let size = u32::try_from(length).unwrap_or(u32::MAX);
        let header = Header {
            size: size.into(),
            flags: FLAG_REPLY.into(),
            error: 0.into(),
            ..*request
        };
        self.bytes.extend_from_slice(header.as_bytes());
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
    }

    /// Adds a reply that says why `request` failed.
    pub fn error(&mut self, request: &Header, error: Errno) {
        let header = Header {
            size: 16.into(),
            flags: (FLAG_REPLY | FLAG_ERROR).into(),
            error: error.raw_os_error().unsigned_abs().into(),
            ..*request
        };
        self.bytes.extend_from_slice(header.as_bytes());
    }

    /// What is to be sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the first `count` bytes: they were sent.
    pub fn sent(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
    }

    /// Whether everything was sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfio_user::message::command;
    use zerocopy::FromBytes;

    fn request() -> Header {
        Header {
            id: 7.into(),
            command: command::REGION_READ.into(),
            size: 32.into(),
            ..Header::default()
        }
    }

    #[test]
    fn a_reply_repeats_id_and_command() {
        let mut out = Outbox::default();
        out.reply(&request(), &[&[1, 2], &[3]]);
        let (header, payload) = Header::ref_from_prefix(out.bytes()).unwrap();
        assert_eq!((header.id.get(), header.command.get()), (7, 9));
        assert_eq!((header.size.get(), header.flags.get()), (19, FLAG_REPLY));
        assert_eq!(payload, [1, 2, 3]);
    }

    #[test]
    fn an_error_carries_its_errno() {
        let mut out = Outbox::default();
        out.error(&request(), Errno::EXIST);
        let header = Header::ref_from_bytes(out.bytes()).unwrap();
        assert_eq!(header.flags.get(), FLAG_REPLY | FLAG_ERROR);
        assert_eq!(header.error.get(), 17);
    }

    #[test]
    fn sent_bytes_are_forgotten() {
        let mut out = Outbox::default();
        out.reply(&request(), &[&[5]]);
        out.sent(16);
        assert_eq!(out.bytes(), [5]);
        out.sent(99);
        assert!(out.is_empty());
    }
}
