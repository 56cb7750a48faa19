//! The same picture in dots, since mail clients draw no SVG.
//!
//! The letters come with the program (`DejaVu` Sans), so a picture looks the same on every machine and
//! none needs fonts. Nothing is loaded: an SVG of ours names no file and no address.

use std::sync::{Arc, OnceLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use super::{Chart, HEIGHT, Theme, WIDTH};

/// Dots to a unit of the picture, along each side: screens have two of them where a page has one.
const DOTS: u16 = 2;

/// The picture as a PNG file of 1280 by 400 dots; `None` where it cannot be drawn, which is a bug.
#[must_use]
pub fn png(chart: &Chart, theme: Theme) -> Option<Vec<u8>> {
    let options = Options { fontdb: fonts(), font_family: FAMILY.to_owned(), ..Options::default() };
    let tree = Tree::from_str(&chart.svg(theme), &options).ok()?;
    let mut dots = Pixmap::new(u32::from(WIDTH * DOTS), u32::from(HEIGHT * DOTS))?;
    let scale = Transform::from_scale(f32::from(DOTS), f32::from(DOTS));
    resvg::render(&tree, scale, &mut dots.as_mut());
    dots.encode_png().ok()
}

const FAMILY: &str = "DejaVu Sans";

fn fonts() -> Arc<fontdb::Database> {
    static FONTS: OnceLock<Arc<fontdb::Database>> = OnceLock::new();
    let made = FONTS.get_or_init(|| {
        let mut fonts = fontdb::Database::new();
        fonts.load_font_source(fontdb::Source::Binary(Arc::new(dejavu::sans::regular())));
        fonts.set_sans_serif_family(FAMILY);
        Arc::new(fonts)
    });
    Arc::clone(made)
}
