//! Files one behind the other in the form that `tar` reads, as far as a backup needs it: plain files
//! with short names, their lengths known.
//!
//! Source of the form: POSIX.1-2017, pax, "ustar Interchange Format". What `tar` can do beside that
//! (links, long names, sparse files) is refused when it is read, so nothing is written through a link
//! or outside of one directory.

const BLOCK: usize = 512;

/// Longest file that the twelve octal digits of a header tell.
const FILE_BYTES_MAX: u64 = 0o777_7777_7777;

/// A header of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Letters, digits, dots and dashes.
    pub name: String,
    /// How long the file is, in bytes.
    pub bytes: u64,
}

/// Why bytes are no archive of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not as tallyd makes it")]
pub struct Garbled;

/// A file in an archive: header, bytes, and zeros up to the next block.
#[must_use]
pub fn file(name: &str, bytes: &[u8], mtime: u64) -> Vec<u8> {
    let mut out = header(name, bytes.len() as u64, mtime).to_vec();
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    out
}

/// What an archive ends with.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

fn header(name: &str, bytes: u64, mtime: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let size = format!("{:011o}", bytes.min(FILE_BYTES_MAX));
    let mtime = format!("{:011o}", mtime.min(FILE_BYTES_MAX));
    // While its sum is taken, the field for the sum is blank.
    let fields: [(usize, &[u8]); 8] = [
        (0, name.as_bytes()),
        (100, b"0000600"),
        (108, b"0000000\x000000000"),
        (124, size.as_bytes()),
        (136, mtime.as_bytes()),
        (148, b"        "),
        (156, b"0"),
        (257, b"ustar\x0000"),
    ];
    for (at, field) in fields {
        put(&mut header, at, field);
    }
    let sum = format!("{:06o}\0 ", sum(&header));
    put(&mut header, 148, sum.as_bytes());
    header
}

fn put(header: &mut [u8; BLOCK], at: usize, field: &[u8]) {
    header.iter_mut().skip(at).zip(field).for_each(|(to, from)| *to = *from);
}

fn sum(header: &[u8; BLOCK]) -> u32 {
    header.iter().map(|byte| u32::from(*byte)).sum()
}

/// What comes next in an archive that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A file begins.
    Begin(Entry),
    /// Bytes of it.
    Bytes(&'a [u8]),
    /// It is whole.
    End,
}

/// Reads an archive as its bytes come in.
#[derive(Debug, Default)]
pub struct Reader {
    /// A header that is not whole.
    head: Vec<u8>,
    /// Bytes of the present file that are still to come, and of the zeros behind it.
    left: u64,
    padding: u64,
    is_inside: bool,
    is_over: bool,
}

impl Reader {
    /// Whether the archive has come to its end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Takes in what has come, and hands what it is to `each`.
    ///
    /// # Errors
    /// [`Garbled`] as `E`, or what `each` says.
    pub fn take<E: From<Garbled>>(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            if self.is_inside && self.left == 0 {
                self.is_inside = false;
                each(Piece::End)?;
            }
            if bytes.is_empty() || self.is_over {
                return Ok(());
            }
            if self.left > 0 {
                let some = cut(&mut bytes, self.left);
                self.left -= some.len() as u64;
                each(Piece::Bytes(some))?;
            } else if self.padding > 0 {
                self.padding -= cut(&mut bytes, self.padding).len() as u64;
            } else {
                let missing = (BLOCK - self.head.len()) as u64;
                self.head.extend_from_slice(cut(&mut bytes, missing));
                if self.head.len() == BLOCK {
                    self.begin(&mut each)?;
                }
            }
        }
    }

    fn begin<E: From<Garbled>>(
        &mut self,
        each: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let head = std::mem::take(&mut self.head);
        if head.iter().all(|byte| *byte == 0) {
            self.is_over = true;
            return Ok(());
        }
        let entry = entry(&head).ok_or(Garbled)?;
        self.left = entry.bytes;
        self.padding = entry.bytes.next_multiple_of(BLOCK as u64) - entry.bytes;
        self.is_inside = true;
        each(Piece::Begin(entry))
    }
}

/// Takes up to so many bytes from the beginning.
fn cut<'a>(bytes: &mut &'a [u8], most: u64) -> &'a [u8] {
    let at = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
    let (some, rest) = bytes.split_at(at);
    *bytes = rest;
    some
}

fn entry(head: &[u8]) -> Option<Entry> {
    let mut blank = *head.first_chunk::<BLOCK>()?;
    put(&mut blank, 148, b"        ");
    if octal(head.get(148..156)?)? != u64::from(sum(&blank)) {
        return None;
    }
    let is_file = head.get(156) == Some(&b'0') && head.get(345) == Some(&0);
    let name = head.get(..100)?.split(|byte| *byte == 0).next()?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_".contains(byte);
    let is_good = !name.is_empty() && !name.starts_with(b".") && name.iter().all(is_plain);
    let name = String::from_utf8(name.to_vec()).ok()?;
    let bytes = octal(head.get(124..136)?)?;
    (is_file && is_good).then_some(Entry { name, bytes })
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let long = vec![7; 700];
        [&file("a.part", b"abc", 5)[..], &file("b", &long, 5), &file("empty", b"", 5), &END]
            .concat()
    }

    fn read(bytes: &[u8], step: usize) -> Result<Vec<(String, usize)>, Garbled> {
        let (mut reader, mut files) = (Reader::default(), Vec::new());
        for some in bytes.chunks(step) {
            reader.take::<Garbled>(some, |piece| {
                match piece {
                    Piece::Begin(entry) => files.push((entry.name, 0)),
                    Piece::Bytes(bytes) => files.last_mut().unwrap().1 += bytes.len(),
                    Piece::End => files.last_mut().unwrap().0 += "!",
                }
                Ok(())
            })?;
        }
        assert_eq!(reader.is_over(), bytes.len() > BLOCK * 6);
        Ok(files)
    }

    #[test]
    fn what_was_written_is_read_however_it_is_cut() {
        let expect = [("a.part!", 3), ("b!", 700), ("empty!", 0)];
        let expect = expect.map(|(name, bytes)| (name.to_owned(), bytes));
        for step in [1, 7, 512, 600, 100_000] {
            assert_eq!(read(&archive(), step).unwrap(), expect, "by {step}");
        }
        assert_eq!(read(&archive()[..=BLOCK * 2], 5).unwrap(), expect[..1]);
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for name in ["../x", "a/b", "/etc/x", ".hidden", "", "a b"] {
            assert_eq!(read(&file(name, b"x", 5), 512), Err(Garbled), "{name}");
        }
        let mut link = file("a", b"", 5);
        link[156] = b'2';
        assert_eq!(read(&link, 512), Err(Garbled));
    }

    #[test]
    fn tar_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("all.tar");
        #[expect(clippy::disallowed_methods, reason = "a test writes a file for another program")]
        std::fs::write(&path, archive()).unwrap();
        let listed = std::process::Command::new("tar").arg("-tvf").arg(&path).output().unwrap();
        assert!(listed.status.success() && listed.stderr.is_empty(), "{listed:?}");
        let text = String::from_utf8(listed.stdout).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.starts_with("-rw------- 0/0"), "{text}");
    }
}
