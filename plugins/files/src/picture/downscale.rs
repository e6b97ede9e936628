//! Box downscaling: pixels are summed as they arrive, in any order, into an image of an integer fraction of the size.

use image::RgbaImage;

/// An image under downscaling.
pub(super) struct Downscale {
    /// Source pixels per output pixel, in each direction.
    factor: u32,
    width: u32,
    height: u32,
    /// Sums of red, green and blue, each weighted by opacity, the sum of opacity, and the number of pixels.
    cells: Vec<[u32; 5]>,
}

impl Downscale {
    /// Creates one whose longer side is one to two times `side`, or the source's if that is smaller.
    pub(super) fn new(width: u32, height: u32, side: u32) -> Self {
        let factor = (width.max(height) / side).max(1);
        let (width, height) = (width.div_ceil(factor), height.div_ceil(factor));
        Self {
            factor,
            width,
            height,
            cells: vec![[0; 5]; width as usize * height as usize],
        }
    }

    /// Adds a pixel. A pixel outside the image is ignored.
    pub(super) fn add(&mut self, x: u32, y: u32, [red, green, blue, opacity]: [u8; 4]) {
        let (x, y) = (x / self.factor, y / self.factor);
        if x >= self.width || y >= self.height {
            return;
        }
        let cell = &mut self.cells[y as usize * self.width as usize + x as usize];
        let weight = u32::from(opacity);
        let weighted = |colour: u8| (u32::from(colour) * weight + 127) / 255;
        for (sum, more) in cell
            .iter_mut()
            .zip([weighted(red), weighted(green), weighted(blue), weight, 1])
        {
            // Fewer than 2²⁴ pixels are summed into one.
            *sum += more;
        }
    }

    /// Returns the downscaled image: the mean colour of each cell.
    pub(super) fn into_image(self) -> RgbaImage {
        let mut image = RgbaImage::new(self.width, self.height);
        for (pixel, [red, green, blue, opacity, count]) in image.pixels_mut().zip(self.cells) {
            let colour = |sum: u32| {
                let mean = (u64::from(sum) * 255 + u64::from(opacity / 2)).checked_div(u64::from(opacity));
                u8::try_from(mean.unwrap_or_default()).unwrap_or(u8::MAX)
            };
            let opacity = (opacity + count / 2).checked_div(count).unwrap_or_default();
            pixel.0 = [
                colour(red),
                colour(green),
                colour(blue),
                u8::try_from(opacity).unwrap_or(u8::MAX),
            ];
        }
        image
    }
}
