"use strict";
/**
 * Pixels of any shape to the square of pixels that a network sees, exactly as tlx makes it.
 *
 * That is what Pillow's Image.resize gives for 8-bit channels (src/libImaging/Resample.c, Reduce.c
 * and Geometry.c), byte for byte: two passes, each with weights of 22 bits and rounded to a byte,
 * after a mean over whole pixels where the picture is more than twice as large as it has to be.
 * Browsers shrink pictures in ways of their own, which do not average over all pixels and differ
 * between them: they are not used. Pictures are {data, width, height, channels}, of which the first
 * three channels count.
 */
const Resample = (() => {
  const GAP = 2; // shrink by whole pixels to at least twice the wanted size, before the filter
  const BITS = 22; // of a weight's fraction
  const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));
  const FILTERS = {
    bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
    bicubic: [2, (signed) => {
      const x = Math.abs(signed), a = -0.5;
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
    }],
    lanczos: [3, (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0)],
  };
  const empty = (width, height) =>
    ({ data: new Uint8ClampedArray(width * height * 3), width, height, channels: 3 });

  /** Round as Python does: what lies in the middle goes to the even number. */
  const round = (x) => {
    const low = Math.floor(x);
    return x - low !== 0.5 ? Math.round(x) : low + (low % 2);
  };

  /** The box [left, top, right, bottom] of a picture that is taken, and its [width, height] then. */
  const place = (width, height, size, fit) => {
    if (fit === "crop") {
      const side = Math.min(width, height), left = (width - side) / 2, top = (height - side) / 2;
      return [[left, top, left + side, top + side], [size, size]];
    }
    const whole = [0, 0, width, height];
    if (fit !== "pad") return [whole, [size, size]];
    const scale = size / Math.max(width, height);
    return [whole, [width, height].map((side) => Math.max(1, round(side * scale)))];
  };

  /** By how much a JPEG is decoded smaller: 8, 4, 2 or 1, with twice the wanted size left. */
  const draft = (width, height, [left, top, right, bottom], target) => {
    const scale = Math.min(
      Math.floor(width / Math.ceil((GAP * target[0] * width) / (right - left))),
      Math.floor(height / Math.ceil((GAP * target[1] * height) / (bottom - top))),
    );
    return [8, 4, 2].find((s) => scale >= s) ?? 1;
  };

  /** The mean over blocks of `across` by `down` pixels of a box; those at its end may be smaller. */
  const reduce = (picture, [left, top, right, bottom], across, down) => {
    const { data, width, channels } = picture;
    const small = empty(Math.ceil((right - left) / across), Math.ceil((bottom - top) / down));
    let at = 0;
    for (let y = top; y < bottom; y += down) {
      const yEnd = Math.min(y + down, bottom);
      for (let x = left; x < right; x += across) {
        const xEnd = Math.min(x + across, right), count = (xEnd - x) * (yEnd - y);
        const factor = Math.trunc(Math.fround(2 ** 32 / Math.fround(256 * count)));
        let red = count >> 1, green = red, blue = red;
        for (let row = y; row < yEnd; row++) {
          const end = (row * width + xEnd) * channels;
          for (let i = (row * width + x) * channels; i < end; i += channels) {
            red += data[i];
            green += data[i + 1];
            blue += data[i + 2];
          }
        }
        small.data[at++] = Math.floor((red * factor) / 2 ** 24);
        small.data[at++] = Math.floor((green * factor) / 2 ** 24);
        small.data[at++] = Math.floor((blue * factor) / 2 ** 24);
      }
    }
    return small;
  };

  /** Of each pixel of a line of `count`: where its source starts, and whole-numbered weights. */
  const weights = (length, from, to, count, [support, filter]) => {
    const scale = Math.fround(to - from) / count, wide = Math.max(scale, 1), reach = support * wide;
    return Array.from({ length: count }, (_, i) => {
      const center = from + (i + 0.5) * scale;
      const start = Math.max(0, Math.trunc(center - reach + 0.5));
      const end = Math.min(length, Math.trunc(center + reach + 0.5));
      const values = new Float64Array(end - start).map((_, x) => filter((x + start - center + 0.5) * (1 / wide)));
      const sum = values.reduce((a, b) => a + b, 0);
      const whole = Int32Array.from(values, (value) => {
        const share = (sum === 0 ? value : value / sum) * 2 ** BITS;
        return Math.trunc(share + (share < 0 ? -0.5 : 0.5));
      });
      return [start, whole];
    });
  };

  /** One pass along the lines: `step` lies between neighbours, `stride` between lines. */
  const pass = (picture, out, table, lines, [step, stride], [outStep, outStride]) => {
    for (let line = 0; line < lines; line++) {
      for (let i = 0; i < table.length; i++) {
        const [start, whole] = table[i];
        let red = 2 ** (BITS - 1), green = red, blue = red;
        let at = line * stride + start * step;
        for (let k = 0; k < whole.length; k++, at += step) {
          red += picture.data[at] * whole[k];
          green += picture.data[at + 1] * whole[k];
          blue += picture.data[at + 2] * whole[k];
        }
        const to = line * outStride + i * outStep;
        out.data[to] = red >> BITS; // the array clips to 0 to 255
        out.data[to + 1] = green >> BITS;
        out.data[to + 2] = blue >> BITS;
      }
    }
    return out;
  };
  const horizontal = (picture, table) => {
    const out = empty(table.length, picture.height), c = picture.channels;
    return pass(picture, out, table, picture.height, [c, c * picture.width], [3, 3 * out.width]);
  };
  const vertical = (picture, table) => {
    const out = empty(picture.width, table.length), c = picture.channels;
    return pass(picture, out, table, picture.width, [c * picture.width, c], [3 * out.width, 3]);
  };

  const nearest = (picture, [left, top, right, bottom], [width, height]) => {
    const along = (from, to, count) => {
      const step = Math.fround(to - from) / count, found = [];
      for (let at = from + step * 0.5; found.length < count; at += step) found.push(Math.trunc(at));
      return found;
    };
    const columns = along(left, right, width), out = empty(width, height);
    let to = 0;
    for (const row of along(top, bottom, height)) {
      for (const column of columns) {
        const at = (row * picture.width + column) * picture.channels;
        for (let c = 0; c < 3; c++) out.data[to++] = picture.data[at + c];
      }
    }
    return out;
  };

  /** Resample a box of a picture to [width, height]. */
  const resize = (picture, box, target, interpolation) => {
    if (interpolation === "nearest") return nearest(picture, box.map(Math.fround), target);
    const filter = FILTERS[interpolation];
    const [left, top, right, bottom] = box, extent = [right - left, bottom - top];
    const by = extent.map((side, i) => Math.trunc(side / target[i] / GAP) || 1);
    if (Math.max(...by) > 1) {
      const [x, y] = extent.map((side, i) => ((filter[0] - 0.5) * side) / target[i]);
      const safe = [
        Math.max(0, Math.trunc(left - x)), Math.max(0, Math.trunc(top - y)),
        Math.min(picture.width, Math.ceil(right + x)), Math.min(picture.height, Math.ceil(bottom + y)),
      ];
      picture = reduce(picture, safe, ...by);
      box = box.map((edge, i) => (edge - safe[i % 2]) / by[i % 2]);
    }
    box = box.map(Math.fround);
    const [width, height] = target;
    const along = box[0] !== 0 || box[2] !== width || picture.width !== width;
    const down = box[1] !== 0 || box[3] !== height || picture.height !== height;
    const columns = weights(picture.width, box[0], box[2], width, filter);
    const rows = weights(picture.height, box[1], box[3], height, filter);
    const shorter = picture.height - height;
    const first = !(shorter > 0 && shorter > (picture.width - width) * 2);
    if (along && first) picture = horizontal(picture, columns);
    if (down) picture = vertical(picture, rows);
    if (along && !first) picture = horizontal(picture, columns);
    return picture;
  };

  /**
   * The square that a network sees: `size` by `size` pixels of RGB, one byte each.
   *
   * `fit` is squash, crop or pad, `interpolation` nearest, bilinear, bicubic or lanczos, as
   * predictor.json says. A JPEG is first shrunk as its decoder would do in tlx, by means of 2, 4 or
   * 8 pixels.
   */
  const frame = (picture, { size, fit, interpolation, jpeg }) => {
    let [box, target] = place(picture.width, picture.height, size, fit);
    if (jpeg && interpolation !== "nearest") {
      const s = draft(picture.width, picture.height, box, target);
      box = box.map((edge) => edge / s);
      if (s > 1) picture = reduce(picture, [0, 0, picture.width, picture.height], s, s);
    }
    const small = resize(picture, box, target, interpolation);
    const square = new Uint8Array(size * size * 3);
    const [x, y] = [size - target[0], size - target[1]].map((rest) => rest >> 1);
    for (let row = 0; row < target[1]; row++) {
      for (let column = 0; column < target[0]; column++) {
        const from = (row * small.width + column) * small.channels;
        square.set(small.data.subarray(from, from + 3), ((row + y) * size + column + x) * 3);
      }
    }
    return square;
  };
  return { frame };
})();
if (typeof module === "object") module.exports = Resample; // for tests with Node.js
