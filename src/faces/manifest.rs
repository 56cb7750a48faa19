//! What a backup consists of: the list of its parts, which is written last and makes it whole.

/// The name of its file.
pub const NAME: &str = "backup.json";

/// The version of the list.
pub const FORMAT: u32 = 1;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Manifest {
    /// The version of this list.
    pub format: u32,
    /// The version of the program that made it.
    pub tallyd: String,
    /// The instant that it tells of, in seconds since 1970.
    pub at: i64,
    /// Cells that it may tell of.
    pub cells: usize,
    /// Records of the store.
    pub stored: u64,
    /// Records of the live table.
    pub live: u64,
    /// The parts, in order.
    pub parts: Vec<Part>,
}

/// A file with records.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Part {
    /// What it is called.
    pub name: String,
    /// How long it is.
    pub bytes: u64,
    /// CRC-32 (IEEE) of all of it.
    pub crc32: u32,
}

/// The name of a part by its place.
#[must_use]
pub fn part_name(at: usize) -> String {
    format!("{at:06}.part")
}

impl Manifest {
    /// As it is written.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// As it is read; `Err` says in plain words what is wrong with it.
    ///
    /// # Errors
    /// Where it is no such list, or a newer one.
    pub fn read(text: &str) -> Result<Self, String> {
        #[derive(serde::Deserialize)]
        struct Version {
            format: u32,
        }
        let wrong = |error| format!("{NAME} is not as tallyd makes it: {error}");
        let Version { format } = serde_json::from_str(text).map_err(wrong)?;
        if format > FORMAT {
            return Err(format!(
                "a newer tallyd made it (format {format}, this one knows {FORMAT}); run that one"
            ));
        }
        let manifest: Self = serde_json::from_str(text).map_err(wrong)?;
        let is_in_order =
            manifest.parts.iter().enumerate().all(|(at, part)| part.name == part_name(at));
        if is_in_order { Ok(manifest) } else { Err(format!("{NAME} lists other files than parts")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written_and_a_newer_one_refused() {
        let part = Part { name: part_name(0), bytes: 5, crc32: 7 };
        let manifest = Manifest {
            format: FORMAT,
            tallyd: "0.1.0".to_owned(),
            at: 1_767_571_200,
            cells: 2,
            stored: 3,
            live: 4,
            parts: vec![part],
        };
        assert_eq!(Manifest::read(&manifest.text()), Ok(manifest.clone()));
        let newer = r#"{"format":2,"other":true}"#;
        assert!(Manifest::read(newer).unwrap_err().starts_with("a newer tallyd made it (format 2"));
        for wrong in ["", "{}", "[]", "{\"format\":1}"] {
            assert!(Manifest::read(wrong).is_err(), "{wrong}");
        }
        let elsewhere = manifest.text().replace("000000.part", "../passwd");
        assert!(Manifest::read(&elsewhere).is_err());
    }
}
