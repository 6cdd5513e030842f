// The 3-D stage: the scene that scene.py describes, drawn by three.js. Z is up, as in MuJoCo.

delete window.__THREE__; // by which three.js warns of a second copy: this page has none

const FIELD_OF_VIEW = 36; // degrees, vertical
const MARGIN = 1.15; // room around what the first view shows
const FLOOR_REACH = 26; // a floor fades out at this many body radii

/** Unit shapes are cheap; each geom gets its own, lying along z as MuJoCo's do. */
function makeGeometry(geom, meshes) {
  const [a, b, c] = geom.size;
  switch (geom.type) {
    case "sphere": return new THREE.SphereGeometry(a, 40, 24);
    case "ellipsoid": return new THREE.SphereGeometry(1, 40, 24).scale(a, b, c);
    case "capsule": return new THREE.CapsuleGeometry(a, 2 * b, 16, 36).rotateX(Math.PI / 2);
    case "cylinder": return new THREE.CylinderGeometry(a, a, 2 * b, 48).rotateX(Math.PI / 2);
    case "box": return new THREE.BoxGeometry(2 * a, 2 * b, 2 * c);
    case "mesh": return meshes[geom.mesh];
    default: return null; // arrows and the like only decorate MuJoCo's own viewer
  }
}

function makeMesh({ vertices, normals, faces }) {
  const geometry = new THREE.BufferGeometry();
  geometry.setAttribute("position", new THREE.BufferAttribute(unpack(vertices, Float32Array), 3));
  geometry.setAttribute("normal", new THREE.BufferAttribute(unpack(normals, Float32Array), 3));
  geometry.setIndex(new THREE.BufferAttribute(unpack(faces, Uint32Array), 1));
  return geometry;
}

const makeColor = ([r, g, b]) => new THREE.Color().setRGB(r, g, b, THREE.SRGBColorSpace);

function place(object, { pos, quat: [w, x, y, z] }) {
  object.position.fromArray(pos);
  object.quaternion.set(x, y, z, w);
}

/** A round cell size, about half of the body, so that squares give a sense of scale. */
function cellSize(radius) {
  const power = 10 ** Math.floor(Math.log10(radius * 0.8));
  return [5, 2, 1].find((factor) => factor * power <= radius * 0.8) * power;
}

/**
 * A checkerboard in the plane's own x and y. Unless the plane is small it has no end: it fades
 * into the sky, and moves along below the camera. Squares are averaged over each pixel (the
 * integral of a square wave is a triangle wave), so that distant ones do not flicker.
 */
function makeFloor(geom, radius) {
  const [halfX, halfY] = geom.size;
  const small = halfX > 0 && halfY > 0 && Math.min(halfX, halfY) < 8 * radius;
  const reach = FLOOR_REACH * radius;
  const uniforms = {
    cell: { value: cellSize(radius) },
    even: { value: new THREE.Color() },
    odd: { value: new THREE.Color() },
    middle: { value: new THREE.Vector3() },
    reach: { value: small ? 1e9 : reach },
  };
  const material = new THREE.MeshLambertMaterial({ transparent: !small });
  material.onBeforeCompile = (shader) => {
    Object.assign(shader.uniforms, uniforms);
    shader.vertexShader = shader.vertexShader
      .replace("#include <common>", `#include <common>
        uniform vec3 middle; varying vec2 spot;`)
      .replace("#include <begin_vertex>", `#include <begin_vertex>
        spot = position.xy + middle.xy;`);
    shader.fragmentShader = shader.fragmentShader
      .replace("#include <common>", `#include <common>
        uniform float cell, reach; uniform vec3 even, odd, middle; varying vec2 spot;
        vec2 triangle(vec2 x) { return 1.0 - abs(2.0 * fract(0.5 * x) - 1.0); }`)
      .replace("#include <color_fragment>", `#include <color_fragment>
        vec2 at = spot / cell;
        vec2 size = max(fwidth(at), vec2(1e-4));
        vec2 wave = (triangle(at + 0.5 * size) - triangle(at - 0.5 * size)) / size;
        diffuseColor.rgb = mix(odd, even, 0.5 + 0.5 * wave.x * wave.y);
        diffuseColor.a *= 1.0 - smoothstep(0.3 * reach, reach, distance(spot, middle.xy));`);
  };
  const [width, height] = small ? [2 * halfX, 2 * halfY] : [2 * reach, 2 * reach];
  const floor = new THREE.Mesh(new THREE.PlaneGeometry(width, height), material);
  floor.receiveShadow = true;
  floor.renderOrder = -1;
  place(floor, geom);

  const home = floor.position.clone();
  const across = new THREE.Vector3(1, 0, 0).applyQuaternion(floor.quaternion);
  const along = new THREE.Vector3(0, 1, 0).applyQuaternion(floor.quaternion);
  const brightest = Math.max(...geom.color.slice(0, 3)) || 1;
  const tint = geom.color.slice(0, 3).map((value) => 0.7 + (0.3 * value) / brightest);
  return {
    object: floor,
    horizontal: Math.abs(across.z) + Math.abs(along.z) < 1e-3,
    retheme() {
      for (const [name, variable] of [["even", "--floor-a"], ["odd", "--floor-b"]]) {
        uniforms[name].value.set(themed(variable)).multiply(makeColor(tint));
      }
    },
    moveBelow(target) {
      if (small) return;
      const offset = target.clone().sub(home);
      uniforms.middle.value.set(offset.dot(across), offset.dot(along), 0);
      floor.position.copy(home).addScaledVector(across, uniforms.middle.value.x)
        .addScaledVector(along, uniforms.middle.value.y);
    },
  };
}

/** Key light with shadow, sky light; `aim(target)` keeps both over what is looked at. */
function addLights(scene, radius) {
  const sky = new THREE.HemisphereLight(0xffffff, 0xa8a29a, 2.2);
  sky.position.set(0, 0, 1);
  const key = new THREE.DirectionalLight(0xfff6ea, 2.3);
  const rim = new THREE.DirectionalLight(0xcfdcff, 0.7);
  key.castShadow = true;
  key.shadow.mapSize.set(2048, 2048);
  key.shadow.radius = 3;
  key.shadow.normalBias = 0.012 * radius;
  const camera = key.shadow.camera;
  camera.left = camera.bottom = -2.2 * radius;
  camera.right = camera.top = 2.2 * radius;
  camera.near = 0.5 * radius;
  camera.far = 14 * radius;
  scene.add(sky, key, key.target, rim, rim.target);
  return function aim(target) {
    key.target.position.copy(target);
    key.position.set(1.6, -2.2, 5).multiplyScalar(radius).add(target);
    rim.target.position.copy(target);
    rim.position.set(-3, 4, 2).multiplyScalar(radius).add(target);
  };
}

/** One group per moving body, and static geoms straight in the scene; floors apart. */
function buildWorld(scene, { geoms, meshes, view }) {
  const shared = meshes.map(makeMesh);
  const bodies = [], floors = [];
  for (const geom of geoms) {
    if (geom.body >= 0) bodies[geom.body] ??= new THREE.Group();
    if (geom.type === "plane") {
      floors.push(makeFloor(geom, view.radius));
      (bodies[geom.body] ?? scene).add(floors.at(-1).object);
      continue;
    }
    const geometry = makeGeometry(geom, shared);
    if (!geometry) continue;
    const opacity = geom.color[3];
    const mesh = new THREE.Mesh(geometry, new THREE.MeshStandardMaterial({
      color: makeColor(geom.color), roughness: 0.5, metalness: 0.02,
      opacity, transparent: opacity < 1, depthWrite: opacity === 1,
    }));
    mesh.castShadow = opacity > 0.5;
    mesh.receiveShadow = true;
    place(mesh, geom);
    (bodies[geom.body] ?? scene).add(mesh);
  }
  bodies.forEach((body) => scene.add(body));
  return { bodies, floors };
}

/** Throws where there is no WebGL. */
function makeStage(canvas, description, frames) {
  const renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true });
  renderer.shadowMap.enabled = true;
  renderer.shadowMap.type = THREE.PCFShadowMap;
  const scene = new THREE.Scene();
  const { view } = description;
  const { bodies, floors } = buildWorld(scene, description);
  const aim = addLights(scene, view.radius);
  const poses = unpack(description.poses, Float32Array);
  const track = unpack(description.track, Float32Array);

  const camera = new THREE.PerspectiveCamera(
    FIELD_OF_VIEW, 1, 0.03 * view.radius, 4 * FLOOR_REACH * view.radius);
  camera.up.set(0, 0, 1);
  const controls = new THREE.OrbitControls(camera, canvas);
  controls.enableDamping = true;
  controls.dampingFactor = 0.12;
  controls.minDistance = 0.4 * view.radius;
  controls.maxDistance = FLOOR_REACH * view.radius;
  if (floors.some((floor) => floor.horizontal)) controls.maxPolarAngle = 0.495 * Math.PI;

  const focus = new THREE.Vector3(), rotation = new THREE.Quaternion(), next = new THREE.Vector3();
  let following = view.follow, dirty = true;

  /** The tracked point at a fractional frame, in `out`. */
  function trackAt(frame, out) {
    const before = Math.floor(frame), after = Math.min(before + 1, frames - 1);
    next.fromArray(track, 3 * after);
    return out.fromArray(track, 3 * before).lerp(next, frame - before);
  }

  function moveBodies(frame) {
    const before = Math.floor(frame), after = Math.min(before + 1, frames - 1);
    bodies.forEach((body, index) => {
      const from = 7 * (before * bodies.length + index), to = 7 * (after * bodies.length + index);
      next.fromArray(poses, to);
      body.position.fromArray(poses, from).lerp(next, frame - before);
      body.quaternion.set(poses[from + 4], poses[from + 5], poses[from + 6], poses[from + 3]);
      rotation.set(poses[to + 4], poses[to + 5], poses[to + 6], poses[to + 3]);
      body.quaternion.slerp(rotation, frame - before);
    });
  }

  function shift(offset) {
    camera.position.add(offset);
    controls.target.add(offset);
  }

  function draw(frame) {
    moveBodies(frame);
    const old = focus.clone();
    trackAt(frame, focus);
    if (following) shift(focus.clone().sub(old));
    dirty = true;
  }

  /** Called once per display frame: true if something had to be drawn. */
  function tick() {
    dirty = controls.update() || dirty;
    if (!dirty) return false;
    dirty = false;
    aim(view.follow ? focus : controls.target);
    floors.forEach((floor) => floor.moveBelow(controls.target));
    renderer.render(scene, camera);
    return true;
  }

  function orbit(azimuth, elevation, zoom = 1) {
    const arm = camera.position.clone().sub(controls.target);
    const polar = Math.acos(clamp(arm.z / arm.length(), -1, 1)) - elevation;
    const around = Math.atan2(arm.y, arm.x) + azimuth;
    const safe = clamp(polar, 0.02, controls.maxPolarAngle - 0.002);
    const length = clamp(arm.length() * zoom, controls.minDistance, controls.maxDistance);
    arm.set(Math.sin(safe) * Math.cos(around), Math.sin(safe) * Math.sin(around), Math.cos(safe));
    camera.position.copy(controls.target).addScaledVector(arm, length);
  }

  function follow(on) {
    following = on;
    if (on) shift(focus.clone().sub(controls.target));
    dirty = true;
  }

  function reset() {
    following = view.follow;
    controls.target.fromArray(view.center);
    if (view.follow) controls.target.copy(focus);
    const azimuth = (view.azimuth * Math.PI) / 180, elevation = (view.elevation * Math.PI) / 180;
    const [sin, cos] = [Math.sin(azimuth), Math.cos(azimuth)];
    const toCamera = new THREE.Vector3(sin, -cos, Math.tan(elevation)).normalize();
    const right = new THREE.Vector3(cos, sin, 0);
    const up = toCamera.clone().cross(right);
    // How far the box reaches along an axis; it has to fit into both directions of the view.
    const reach = (axis) => axis.toArray()
      .reduce((sum, part, i) => sum + Math.abs(part) * view.half[i], 0);
    const tall = Math.tan((FIELD_OF_VIEW / 2) * (Math.PI / 180));
    const fit = Math.max(reach(up) / tall, reach(right) / (tall * camera.aspect));
    camera.position.copy(controls.target)
      .addScaledVector(toCamera, MARGIN * fit + reach(toCamera));
    dirty = true;
    return following;
  }

  function resize() {
    const { width, height } = canvas.parentElement.getBoundingClientRect();
    if (!width || !height) return;
    renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 2));
    renderer.setSize(width, height, false);
    camera.aspect = width / height;
    camera.updateProjectionMatrix();
    dirty = true;
  }

  function retheme() {
    floors.forEach((floor) => floor.retheme());
    dirty = true;
  }

  trackAt(0, focus);
  resize();
  reset();
  return { draw, tick, resize, retheme, follow, orbit, reset };
}
