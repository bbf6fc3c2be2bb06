//! Where things are kept between runs.

use std::path::PathBuf;

/// The folders Stablemate writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// What `setup` installs: the compiler.
    pub data: PathBuf,
    /// What can be made again: compiled models.
    pub cache: PathBuf,
}

impl Folders {
    /// The folders by the conventions of the XDG base directory specification, looked up with
    /// `variable` (this library reads no process environment of its own): `STABLEMATE_DATA`, else
    /// `$XDG_DATA_HOME/stablemate`, else `~/.local/share/stablemate`; `STABLEMATE_CACHE`, else
    /// `$XDG_CACHE_HOME/stablemate`, else `~/.cache/stablemate`. `None` without `HOME`.
    ///
    /// ```
    /// let folders = stablemate::Folders::standard(|name| std::env::var(name).ok());
    /// ```
    pub fn standard(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = |own: &str, xdg: &str, below_home: &str| {
            // The specification says that relative paths are invalid and to be ignored.
            let standard = set(xdg).filter(|path| path.is_absolute());
            set(own)
                .or_else(|| standard.map(|path| path.join("stablemate")))
                .or_else(|| Some(set("HOME")?.join(below_home).join("stablemate")))
        };
        Some(Self {
            data: folder("STABLEMATE_DATA", "XDG_DATA_HOME", ".local/share")?,
            cache: folder("STABLEMATE_CACHE", "XDG_CACHE_HOME", ".cache")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_variables_win_then_xdg_then_home() {
        let standard = |pairs: &[(&str, &str)]| {
            Folders::standard(|name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
            })
        };
        assert_eq!(standard(&[]), None);
        let home = standard(&[("HOME", "/h")]).unwrap();
        assert_eq!(home.data, PathBuf::from("/h/.local/share/stablemate"));
        assert_eq!(home.cache, PathBuf::from("/h/.cache/stablemate"));
        let xdg = standard(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c"), ("XDG_DATA_HOME", "d")]);
        let xdg = xdg.unwrap();
        assert_eq!(xdg.cache, PathBuf::from("/c/stablemate"));
        assert_eq!(xdg.data, home.data, "a relative XDG folder is ignored");
        let own = standard(&[("STABLEMATE_DATA", "/d"), ("STABLEMATE_CACHE", "c"), ("HOME", "")]);
        assert_eq!(own, Some(Folders { data: "/d".into(), cache: "c".into() }));
    }
}
