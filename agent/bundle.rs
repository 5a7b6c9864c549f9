//! What `istioctl x workload entry configure` writes: five files, in a directory or in a tar.
//!
//! A bundle is read whole into memory and judged before anything on this machine changes.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::config::{
    paths::{self, BUNDLE},
    problem::{Problem, Problems},
};

/// The files of a bundle, by name. One of them is a token.
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
        let mut reading = Reading { place, files: BTreeMap::new(), problems: Vec::new() };
        let read = match fs::metadata(place) {
            Ok(found) if found.is_dir() => reading.directory(),
            Ok(_) => reading.archive(),
            Err(error) => Err(error),
        };
        if let Err(error) = read {
            return Err(Problems(vec![Problem::with(
                place.display().to_string(),
                format!(
                    "cannot be read as a bundle: {error}; expected the directory that \
                     `istioctl x workload entry configure -o` wrote, or a tar of it"
                ),
            )]));
        }
        reading.finish()
    }

    /// Name and content of every file.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.files.iter().map(|(name, content)| (*name, content.as_slice()))
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

impl Reading<'_> {
    fn directory(&mut self) -> io::Result<()> {
        for entry in fs::read_dir(self.place)? {
            let entry = entry?;
            let name = entry.file_name();
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

    fn archive(&mut self) -> io::Result<()> {
        let mut start = [0; 2];
        let mut file = File::open(self.place)?;
        file.read_exact(&mut start)?;
        let file = File::open(self.place)?;
        if start == GZIP {
            self.tar(flate2::read::GzDecoder::new(file).take(MAX_ARCHIVE))
        } else {
            self.tar(file.take(MAX_ARCHIVE))
        }
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
        let Some((known, _)) = BUNDLE.iter().find(|(known, _)| *known == name) else {
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
        if self.problems.len() < MAX_PROBLEMS {
            self.wrong(
                &path.display().to_string(),
                format!("not a file of a bundle, which are {}; remove it", names.join(", ")),
            );
        }
    }

    fn finish(mut self) -> Result<Bundle, Problems> {
        for (name, _) in BUNDLE {
            match self.files.get(name) {
                None => self.wrong(name, format!("missing; {AGAIN}")),
                // istioctl leaves `hosts` empty where the gateway has no address yet.
                Some(content) if content.trim_ascii().is_empty() && name != paths::HOSTS => {
                    self.wrong(name, format!("empty; {AGAIN}"));
                }
                Some(_) => {}
            }
        }
        Problems::check(self.problems)?;
        Ok(Bundle { place: self.place.to_owned(), files: self.files })
    }

    fn wrong(&mut self, name: &str, what: impl Into<String>) {
        let file = self.place.join(name);
        self.problems.push(Problem::with(file.display().to_string(), what));
    }
}

const AGAIN: &str = "write the bundle again with `istioctl x workload entry configure`";
const GZIP: [u8; 2] = [0x1f, 0x8b];
const MAX_FILE: u64 = 1024 * 1024;
const MAX_ARCHIVE: u64 = 16 * 1024 * 1024;
const MAX_PROBLEMS: usize = 16;

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
