"use strict";
/**
 * Photos to classes, on the user's machine: predictor.json and network.onnx beside this page say how.
 *
 * What comes from there or from a file's name is shown as text only. Whatever is loaded is compared
 * with the hash that page.json has of it, also where it comes from another server.
 */
(() => {
  if (location.protocol === "file:") return; // what the page says already is what to do
  const SHOWN = 5; // classes a photo
  const MAX_PIXELS = 89478485; // as many as tlx reads
  const STRIP = 2 ** 22; // pixels that are read at once: some browsers have no larger canvases
  const THUMBNAIL = 224;
  const at = (id) => document.getElementById(id);
  const make = (kind, text = "", name = "") => {
    const element = document.createElement(kind);
    element.textContent = text;
    element.className = name;
    return element;
  };
  const percent = (share) => {
    const text = (share * 100).toFixed(1);
    if (text === "100.0" && share < 1) return "> 99.9%";
    return text === "0.0" && share > 0 ? "< 0.1%" : `${text}%`;
  };
  const say = (text, problem = false) => {
    at("status").textContent = text;
    at("status").classList.toggle("problem", problem);
  };

  // Loading

  const load = async ({ url, integrity }) => {
    const options = { integrity, credentials: "omit", referrerPolicy: "no-referrer" };
    const response = await fetch(url, options).catch(() => {
      throw new Error(`${url} cannot be reached, or is not the file that was exported.`);
    });
    if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
    return response.arrayBuffer();
  };
  const json = async (url) => JSON.parse(new TextDecoder().decode(await load({ url })));

  /** The runtime, the network and what is known of it; one thread, as more need special headers. */
  const open = async () => {
    const [parts, known] = await Promise.all([json("page.json"), json("predictor.json")]);
    describe(known);
    say(`Loading the network: ${Math.round(parts.bytes / 1e6)} MB.`);
    const [script, wasm, network] = await Promise.all([parts.script, parts.wasm, parts.network].map(load));
    const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    const ort = await import(address);
    URL.revokeObjectURL(address);
    ort.env.wasm.wasmBinary = wasm;
    ort.env.wasm.numThreads = 1;
    const session = await ort.InferenceSession.create(network, { executionProviders: ["wasm"] });
    return { ort, session, known };
  };
  const describe = (known) => {
    const { value, low, high } = known.accuracy;
    at("title").textContent = known.dataset;
    document.title = `${known.dataset}: image classifier`;
    at("about").textContent =
      `${known.class_names.length} classes, ${percent(value)} of new photos right (95% interval ` +
      `${percent(low)} to ${percent(high)}). Photos stay on this device: nothing is uploaded.`;
    for (const { error, threshold } of known.rejection) {
      const choice = make("option", `unknown (at most ${Number((error * 100).toFixed(2))}% errors)`);
      choice.value = String(threshold);
      at("error").append(choice);
    }
    at("doubt").hidden = known.rejection.length === 0;
  };

  // Pixels

  /** The numbers that stand in the file, upright: no colours are converted. */
  const decode = (source) =>
    createImageBitmap(source, { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" });

  const canvas = (width, height) => Object.assign(document.createElement("canvas"), { width, height });

  /** RGBA of a whole picture, which is laid on white. */
  const read = (bitmap) => {
    const { width, height } = bitmap;
    const rows = Math.min(height, Math.max(1, Math.floor(STRIP / width)));
    const context = canvas(width, rows).getContext("2d", { alpha: false, willReadFrequently: true });
    const data = new Uint8ClampedArray(width * height * 4);
    for (let top = 0; top < height; top += rows) {
      const count = Math.min(rows, height - top);
      context.fillStyle = "#fff";
      context.fillRect(0, 0, width, rows);
      context.drawImage(bitmap, 0, -top);
      data.set(context.getImageData(0, 0, width, count).data, top * width * 4);
    }
    return { data, width, height, channels: 4 };
  };

  const thumbnail = (bitmap, name) => {
    const scale = Math.min(1, THUMBNAIL / Math.max(bitmap.width, bitmap.height));
    const small = canvas(...[bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale))));
    small.getContext("2d").drawImage(bitmap, 0, 0, small.width, small.height);
    small.setAttribute("role", "img");
    small.setAttribute("aria-label", name);
    return small;
  };

  /** Whether a file is a JPEG, and is all there: browsers show half of one, too. */
  const jpeg = async (file) => {
    const head = new Uint8Array(await file.slice(0, 3).arrayBuffer());
    if (head[0] !== 0xff || head[1] !== 0xd8 || head[2] !== 0xff) return false;
    const bytes = new Uint8Array(await file.arrayBuffer());
    let i = 2; // past the segments before the picture, which may hold a smaller one
    while (bytes[i] === 0xff && bytes[i + 1] !== 0xda) i += 2 + bytes[i + 2] * 256 + bytes[i + 3];
    for (; i < bytes.length; i++) if (bytes[i] === 0xff && bytes[i + 1] === 0xd9) return true;
    throw new Error("The file is not complete.");
  };

  // Classes

  const ready = open();
  const classify = async (bitmap, isJpeg) => {
    const { ort, session, known } = await ready;
    const { image_size: size, fit, interpolation } = known;
    const square = Resample.frame(read(bitmap), { size, fit, interpolation, jpeg: isJpeg });
    const image = new ort.Tensor("uint8", square, [1, size, size, 3]);
    const found = await session.run({ [known.input.name]: image });
    return Array.from(found[known.output.name].data);
  };

  /** Show probabilities: the most likely class, then bars. The place keeps them for the next choice. */
  const show = async (place, probabilities) => {
    const names = (await ready).known.class_names;
    const order = probabilities.map((_, i) => i).sort((a, b) => probabilities[b] - probabilities[a] || a - b);
    const sure = probabilities[order[0]] >= Number(at("error").value);
    const title = make("h3", sure ? names[order[0]] : "unknown");
    title.dir = "auto";
    const bars = make("ol");
    for (const c of order.slice(0, SHOWN)) {
      const row = make("li"), name = make("bdi", names[c]), bar = make("div", "", "bar"), fill = make("span");
      fill.style.width = `${probabilities[c] * 100}%`;
      bar.append(fill);
      row.append(name, make("span", percent(probabilities[c])), bar);
      bars.append(row);
    }
    place.replaceChildren(title, bars);
    if (names.length > SHOWN) place.append(make("p", `and ${names.length - SHOWN} less likely ones`, "rest"));
    place.dataset.probabilities = JSON.stringify(probabilities);
  };

  // One after the other: photos wait in line.
  let line = ready.catch(() => {});
  const examine = (name, source, before) => {
    const card = make("li", "", "card"), picture = make("div"), right = make("div"), said = make("div", "Waiting …", "said");
    const title = make("p", name, "name");
    title.dir = "auto";
    right.append(title, said);
    card.append(picture, right);
    at("list").insertBefore(card, before);
    at("results").hidden = false;
    line = line.then(async () => {
      try {
        const isJpeg = source instanceof Blob && (await jpeg(source));
        const bitmap = await decode(source).catch(() => {
          throw new Error("This browser cannot read it as a photo.");
        });
        if (bitmap.width * bitmap.height > MAX_PIXELS) throw new Error("It has too many pixels.");
        picture.append(thumbnail(bitmap, name));
        await show(said, await classify(bitmap, isJpeg));
        bitmap.close();
      } catch (error) {
        said.replaceChildren(make("p", error.message, "problem"));
      }
      await new Promise((resolve) => setTimeout(resolve)); // let the page be drawn
    });
  };
  const examineAll = (files) => {
    const before = at("list").firstChild; // the newest stand first, in their own order
    for (const file of files) examine(file.name, file, before);
  };

  // What people do

  const only = (event, act) => {
    event.preventDefault();
    document.body.classList.toggle("over", event.type === "dragover");
    act?.();
  };
  addEventListener("dragover", (event) => only(event));
  addEventListener("dragleave", (event) => only(event));
  addEventListener("drop", (event) => only(event, () => examineAll(event.dataTransfer.files)));
  addEventListener("paste", (event) => examineAll(event.clipboardData.files));
  at("choose").addEventListener("click", () => at("files").click());
  at("files").addEventListener("change", (event) => {
    examineAll(event.target.files);
    event.target.value = "";
  });
  at("clear").addEventListener("click", () => {
    at("list").replaceChildren();
    at("results").hidden = true;
    at("choose").focus();
  });
  at("error").addEventListener("change", () => {
    for (const said of document.querySelectorAll("[data-probabilities]")) {
      show(said, JSON.parse(said.dataset.probabilities));
    }
  });

  // The camera

  let stream = null;
  let asking = false; // for permission, which may take long: a second click opens no second camera
  const stop = () => {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    at("camera").hidden = true;
    at("film").textContent = "Use the camera";
    at("film").setAttribute("aria-expanded", "false");
  };
  const watch = async () => {
    const own = stream;
    while (stream === own) {
      const started = performance.now();
      const bitmap = await decode(at("video"));
      await show(at("live"), await classify(bitmap, false));
      bitmap.close();
      const rest = Math.max(100, performance.now() - started); // half of the time is the page's
      await new Promise((resolve) => setTimeout(resolve, rest));
    }
  };
  const ask = async () => {
    asking = true;
    try {
      return await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } finally {
      asking = false;
    }
  };
  at("film").addEventListener("click", async () => {
    if (asking) return;
    if (stream) return stop();
    try {
      stream = await ask();
      at("camera").hidden = false;
      at("film").textContent = "Stop the camera";
      at("film").setAttribute("aria-expanded", "true");
      at("video").srcObject = stream;
      await at("video").play();
      await watch();
    } catch (error) {
      stop();
      say(`The camera cannot be used: ${error.message}`, true);
    }
  });
  at("keep").addEventListener("click", async () => {
    const frame = await decode(at("video"));
    examine(`Camera, ${new Date().toLocaleTimeString()}`, frame, at("list").firstChild);
  });

  ready.then(
    () => {
      say("");
      at("ask").hidden = false;
    },
    (error) => say(`The network cannot be loaded: ${error.message}`, true),
  );
})();
