"""One way from a file's bytes to pixels, the same for every use.

Whatever Pillow reads becomes RGB with 8 bits a channel, and this is what it costs:

- The EXIF orientation is applied, so width and height are those a person sees.
- Transparent pixels are laid on a background colour (a setting); the alpha is gone.
- Palettes are looked up; CMYK, Lab, HSV and YCbCr are converted by Pillow's formulas, and
  embedded colour profiles are ignored.
- Grey with 16 bits keeps its upper 8 bits (12-bit TIFF: its upper 8 of 12), so black and
  white stay where the format puts them. Grey with 32 bits or floating point has no fixed
  white: values within 0 to 1 (float only), 0 to 255 or 0 to 65,535 are taken to be on
  that scale, anything else is stretched from its own smallest to its largest value; what
  is not a number becomes black.
- Of animations, bursts and documents with several pages only the first picture is used.
- Where the target is small, JPEGs are decoded at 1/2, 1/4 or 1/8 of their size, and the
  rest is resized bicubically: close to, but not the same as, resizing the whole picture.

Left out are formats that Pillow can only name, and those it hands to other programs (EPS,
WMF, MPEG and the weather and HDF5 stubs). Pictures of kinds that are not read, camera raw among
them, count as `unsupported`, each with its name.
"""
