//! What `istioctl x workload entry configure` writes: five files, in a directory or in a tar. Or
//! the oldest form, with a key and its certificate in place of a token.
//!
//! A bundle is read whole into memory and judged before anything on this machine changes.

mod changes;
mod clock;
mod judged;
mod origin;
mod web;

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use zeroize::Zeroizing;

pub(crate) use self::{
    changes::changes,
    clock::{ahead_or_behind, behind},
    judged::{gone_names, judge, out_of_time, pair},
    origin::{Brought, Origin},
};
use crate::config::{
    paths::{self, BUNDLE, PAIR},
    problem::{Problem, Problems},
};

/// The files of a bundle, by name. One of them is a token or a key.
pub struct Bundle {
    place: PathBuf,
    files: BTreeMap<&'static str, Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Bundle {
    /// Reads a directory, a tar or a compressed tar. Missing, empty, unknown and oversized files
    /// are told together.
    pub fn read(place: &Path) -> Result<Self, Problems> {
        let found = fs::metadata(place).map_err(|error| unreadable(place, &error))?;
        if !found.is_dir() {
            let archive = File::open(place).and_then(bounded);
            let archive = archive.map_err(|error| unreadable(place, &error))?;
            return Self::unpacked(place, &archive);
        }
        let mut reading = Reading::new(place);
        reading.directory().map_err(|error| unreadable(place, &error))?;
        reading.finish()
    }

    /// Reads a tar, compressed or not, or in base64 as things are passed that have to be text.
    /// `place` is what it is called by.
    pub fn unpacked(place: &Path, archive: &[u8]) -> Result<Self, Problems> {
        let decoded = of_base64(archive);
        let archive = decoded.as_ref().map_or(archive, |decoded| decoded.as_slice());
        let mut reading = Reading::new(place);
        let read = match archive.strip_prefix(&GZIP) {
            Some(_) => reading.tar(flate2::read::GzDecoder::new(archive).take(MAX_UNPACKED)),
            None => reading.tar(archive),
        };
        read.map_err(|error| unreadable(place, &error))?;
        reading.finish()
    }

    /// What is in a directory that was joined with, whole or not.
    pub fn installed(place: &Path) -> Option<Self> {
        if !place.is_dir() {
            return None;
        }
        let known = BUNDLE.iter().chain(&PAIR).map(|(name, _)| *name);
        let content = |name| File::open(place.join(name)).and_then(bounded).ok();
        let files = known.filter_map(|name| Some((name, content(name)?))).collect();
        Some(Self { place: place.to_owned(), files })
    }

    /// Name and content of every file.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.files.iter().map(|(name, content)| (*name, content.as_slice()))
    }

    /// A file that is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.files.get(name).and_then(|content| str::from_utf8(content).ok())
    }

    /// Whether there is a pair in it.
    pub fn has_pair(&self) -> bool {
        PAIR.iter().any(|(name, _)| self.files.contains_key(name))
    }

    /// Whether all of it is the same.
    pub fn is(&self, other: &Self) -> bool {
        self.files == other.files
    }

    /// Where it was read from.
    pub fn place(&self) -> &Path {
        &self.place
    }
}

struct Reading<'a> {
    place: &'a Path,
    files: BTreeMap<&'static str, Zeroizing<Vec<u8>>>,
    problems: Vec<Problem>,
}

impl<'a> Reading<'a> {
    fn new(place: &'a Path) -> Self {
        Self { place, files: BTreeMap::new(), problems: Vec::new() }
    }

    fn directory(&mut self) -> io::Result<()> {
        for entry in fs::read_dir(self.place)? {
            let entry = entry?;
            let name = entry.file_name();
            // A mounted secret keeps its versions beside the files, under such names.
            if name.as_encoded_bytes().starts_with(b"..") {
                continue;
            }
            let path = entry.path();
            // Followed if it is a link: a bundle may come out of a mounted secret.
            if fs::metadata(&path)?.is_file() {
                self.file(Path::new(&name), &mut File::open(&path)?)?;
            } else {
                self.unknown(Path::new(&name));
            }
        }
        Ok(())
    }

    fn tar(&mut self, archive: impl Read) -> io::Result<()> {
        for entry in tar::Archive::new(archive).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.into_owned();
            match entry.header().entry_type() {
                tar::EntryType::Directory => {}
                tar::EntryType::Regular => self.file(&path, &mut entry)?,
                tar::EntryType::XGlobalHeader | tar::EntryType::XHeader => {}
                _ => self.unknown(&path),
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, content: &mut impl Read) -> io::Result<()> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((known, _)) = BUNDLE.iter().chain(&PAIR).find(|(known, _)| *known == name) else {
            self.unknown(path);
            return Ok(());
        };
        let mut text = Zeroizing::new(Vec::new());
        content.take(MAX_FILE + 1).read_to_end(&mut text)?;
        if text.len() as u64 > MAX_FILE {
            self.wrong(known, "larger than 1 MiB; this is no file of istioctl's");
        } else if self.files.insert(known, text).is_some() {
            self.wrong(known, "there are two files of this name in the bundle");
        }
        Ok(())
    }

    fn unknown(&mut self, path: &Path) {
        let names: Vec<&str> = BUNDLE.iter().map(|(name, _)| *name).collect();
        // Somebody else chose the name: no terminal is to obey it.
        let shown: String = path.to_string_lossy().chars().take(MAX_NAME).map(printable).collect();
        if self.problems.len() < MAX_PROBLEMS {
            self.wrong(
                &shown,
                format!("not a file of a bundle, which are {}; remove it", names.join(", ")),
            );
        }
    }

    fn finish(mut self) -> Result<Bundle, Problems> {
        let pair = PAIR.iter().any(|(name, _)| self.files.contains_key(name));
        // Who has a pair shows that, and the oldest machines had no mesh file.
        let needed = |name: &str| match pair {
            true => ![paths::TOKEN, paths::MESH_YAML, paths::HOSTS].contains(&name),
            false => true,
        };
        for (name, _) in BUNDLE {
            match self.files.get(name) {
                None if needed(name) => self.wrong(name, format!("missing; {AGAIN}")),
                // istioctl leaves `hosts` empty where the gateway has no address yet.
                Some(content) if content.trim_ascii().is_empty() && name != paths::HOSTS => {
                    self.wrong(name, format!("empty; {AGAIN}"));
                }
                _ => {}
            }
        }
        for (name, _) in PAIR.iter().filter(|_| pair) {
            if self.files.get(name).is_none_or(|content| content.trim_ascii().is_empty()) {
                self.wrong(name, "missing; a pair is key.pem and cert-chain.pem, issued together");
            }
        }
        Problems::check(self.problems)?;
        Ok(Bundle { place: self.place.to_owned(), files: self.files })
    }

    fn wrong(&mut self, name: &str, what: impl Into<String>) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let file = self.place.join(name);
        self.problems.push(Problem::with(file.display().to_string(), what));
    }
}

/// All of something that has no business being large.
fn bounded(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut all = Zeroizing::new(Vec::new());
    from.take(MAX_ARCHIVE + 1).read_to_end(&mut all)?;
    if all.len() as u64 > MAX_ARCHIVE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 16 MiB"));
    }
    Ok(all)
}

/// What this is in base64, if that is what it is; neither tar nor gzip look like it.
fn of_base64(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if text.is_empty() || text.contains(&0) || text.starts_with(&GZIP) {
        return None;
    }
    // In lines, as programs write it.
    let solid = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace());
    let solid = Zeroizing::new(solid.collect::<Vec<u8>>());
    BASE64_STANDARD.decode(&solid).ok().map(Zeroizing::new)
}

fn unreadable(place: &Path, error: &io::Error) -> Problems {
    // What a damaged archive holds is part of the error.
    let error: String = error.to_string().chars().take(MAX_NAME).map(printable).collect();
    Problems(vec![Problem::with(
        place.display().to_string(),
        format!(
            "cannot be read as a bundle: {error}; expected the directory that \
             `istioctl x workload entry configure -o` wrote, or a tar of it"
        ),
    )])
}

fn printable(c: char) -> char {
    if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }
}

const AGAIN: &str = "write the bundle again with `istioctl x workload entry configure`";
const GZIP: [u8; 2] = [0x1f, 0x8b];
const MAX_FILE: u64 = 1024 * 1024;
const MAX_ARCHIVE: u64 = 16 * 1024 * 1024;
/// Of what is compressed.
const MAX_UNPACKED: u64 = 16 * 1024 * 1024;
const MAX_PROBLEMS: usize = 16;
const MAX_NAME: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn five() -> Vec<(&'static str, &'static str)> {
        let content = |name| if name == paths::HOSTS { "" } else { "x" };
        BUNDLE.iter().map(|(name, _)| (*name, content(*name))).collect()
    }

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            hawser_state::write_file(&dir.path().join(name), 0o600, content.as_bytes()).unwrap();
        }
        dir
    }

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            tar.append_data(&mut header, format!("./vm/{name}"), content.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn a_directory_a_tar_and_a_compressed_tar_are_the_same_bundle() {
        let dir = directory(&five());
        let plain = dir.path().join("../plain.tar");
        let outer = tempfile::tempdir().unwrap();
        let plain = outer.path().join(plain.file_name().unwrap());
        let gzip = outer.path().join("bundle.tgz");
        hawser_state::write_file(&plain, 0o600, &archive(&five())).unwrap();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut packed, &archive(&five())).unwrap();
        hawser_state::write_file(&gzip, 0o600, &packed.finish().unwrap()).unwrap();

        for place in [dir.path(), &plain, &gzip] {
            let bundle = Bundle::read(place).unwrap();
            assert_eq!(bundle.files().count(), 5, "{}", place.display());
        }
    }

    #[test]
    fn missing_empty_and_unknown_files_are_told_together() {
        let mut files = five();
        files.retain(|(name, _)| *name != paths::TOKEN);
        files.push(("notes.txt", "?"));
        for file in &mut files {
            if file.0 == paths::ROOT_CERT {
                file.1 = "\n";
            }
        }
        let dir = directory(&files);

        let problems = Bundle::read(dir.path()).unwrap_err().to_string();

        assert_eq!(problems.lines().count(), 3, "{problems}");
        assert!(problems.contains("notes.txt: not a file of a bundle"), "{problems}");
        assert!(problems.contains("root-cert.pem: empty"), "{problems}");
        assert!(problems.contains("istio-token: missing"), "{problems}");
    }

    #[test]
    fn what_is_no_bundle_at_all_is_one_problem() {
        let dir = tempfile::tempdir().unwrap();
        let junk = dir.path().join("junk.tar");
        hawser_state::write_file(&junk, 0o600, &[7; 2048]).unwrap();

        for place in [&junk, &dir.path().join("nowhere")] {
            let problems = Bundle::read(place).unwrap_err();
            assert_eq!(problems.0.len(), 1, "{problems}");
            assert!(problems.to_string().contains("expected the directory"), "{problems}");
        }
    }
}
