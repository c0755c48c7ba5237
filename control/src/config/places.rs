//! Whether the places that are configured can be used, as far as that is known without making anything.

use std::path::Path;

use rustix::fs::{Access, access};

use super::{Config, Error, value};

impl Config {
    /// Checks that the data directory, or what it will be made in, is a directory where files can be made.
    ///
    /// # Errors
    /// [`Error::Value`] that names the place.
    pub fn check_data_dir(&self) -> Result<(), Error> {
        // The last ancestor of a relative path is the empty one: the working directory.
        let paths = self.data_dir.ancestors().map(|path| match path {
            empty if empty.as_os_str().is_empty() => Path::new("."),
            path => path,
        });
        let mut there = paths.filter(|path| path.symlink_metadata().is_ok());
        let Some(place) = there.next() else {
            return Ok(());
        };
        let bad = |why: &str| Err(value("data_dir", format!("{} {why}", place.display())));
        if !place.is_dir() {
            return bad("is no directory");
        }
        match access(place, Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => Ok(()),
            Err(error) => bad(&format!("can't be written: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    #[test]
    fn a_data_directory_that_cannot_be_is_named_and_none_is_made() {
        let dir = crate::testing::Dir::new("data-dir");
        std::fs::create_dir_all(&dir.0).expect("made");
        std::fs::write(dir.0.join("file"), "").expect("written");
        let check = |path: &Path| {
            let text = format!("secret = 's'\ndata_dir = '{}'", path.display());
            let settings: Settings = toml::from_str(&text).expect("known keys");
            settings.complete().check_data_dir()
        };
        for good in [
            dir.0.clone(),
            dir.0.join("new/data"),
            "data-of-nobody".into(),
        ] {
            assert_eq!(check(&good).map_err(|error| error.to_string()), Ok(()));
        }
        assert!(!dir.0.join("new").exists());
        for bad in ["file", "file/data"] {
            let told = check(&dir.0.join(bad)).expect_err(bad).to_string();
            assert!(
                told.contains("data_dir: ") && told.contains("file is no directory"),
                "{told}"
            );
        }
        if !rustix::process::geteuid().is_root() {
            let told = check(Path::new("/ringcast")).expect_err("not ours");
            assert!(told.to_string().contains("/ can't be written"), "{told}");
        }
    }
}
