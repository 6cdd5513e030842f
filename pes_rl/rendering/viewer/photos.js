// The stage of an environment that can only be photographed: one picture per frame.

/** Same interface as a 3-D stage, without the camera. `photos.stride` frames share a picture. */
function makePhotos(canvas, photos) {
  canvas.classList.add("photos");
  canvas.width = photos.width;
  canvas.height = photos.height;
  const context = canvas.getContext("2d");
  const pictures = new Map();
  let wanted = -1;

  async function picture(index) {
    if (!pictures.has(index)) {
      const image = new Image();
      image.src = `data:${photos.type};base64,${photos.frames[index]}`;
      pictures.set(index, image.decode().then(() => image));
      if (pictures.size > 64) pictures.delete(pictures.keys().next().value);
    }
    return pictures.get(index);
  }

  async function draw(frame) {
    const last = photos.frames.length - 1;
    const index = Math.min(Math.floor((frame + 1e-6) / photos.stride), last);
    if (index === wanted) return pictures.get(index);
    wanted = index;
    const image = await picture(index);
    if (wanted === index) context.drawImage(image, 0, 0, canvas.width, canvas.height);
    picture(Math.min(index + 1, last)); // decoded before it is needed
  }

  return { draw, tick: () => false, resize() {}, retheme() {} };
}
