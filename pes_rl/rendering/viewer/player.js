// Time, controls and keys; puts the parts together.
//
// The recording: title, details [[label, text]], dt (seconds per frame), frames, rewards (float64
// [frames - 1] in base64), and either scene (see scene.py) or photos (see html.py).

const SPEEDS = [0.25, 0.5, 1, 2, 4];

function showMessage(text) {
  element("message").textContent = text;
  element("message").hidden = false;
}

function cumulative(rewards) {
  const totals = new Float64Array(rewards.length + 1);
  rewards.forEach((reward, i) => { totals[i + 1] = totals[i] + reward; });
  return totals;
}

function fillDetails(rows, notes) {
  for (const [label, text] of rows) {
    const [term, value] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = label;
    value.textContent = text;
    element("rows").append(term, value);
  }
  element("notes").textContent = notes.join(" ");
}

/** A 3-D stage or photographs; where neither can be shown, a message and an empty stage. */
function openStage(recording) {
  const canvas = element("view");
  if (recording.photos) return makePhotos(canvas, recording.photos);
  try {
    return makeStage(canvas, recording.scene, recording.frames);
  } catch (error) {
    canvas.hidden = true;
    showMessage("This browser offers no WebGL, which the 3-D view needs. Enable hardware "
      + "acceleration, or open the page in another browser. The reward trace below works.");
    return { draw() {}, tick: () => false, resize() {}, retheme() {} };
  }
}

function start(recording) {
  const rewards = unpack(recording.rewards, Float64Array);
  const returns = cumulative(rewards);
  const { dt } = recording, last = recording.frames - 1, duration = last * dt;
  const stage = openStage(recording);
  const solid = Boolean(stage.orbit);
  let time = 0, playing = false, looping = true, speed = 1;

  // -- what is shown -------------------------------------------------------------------------

  const chart = makeChart(element("chart"), { rewards, returns, dt, onSeek: seek });
  const decimals = duration < 100 ? 2 : 1;

  function show() {
    const frame = Math.floor(time / dt + 1e-6);
    const drawn = stage.draw(clamp(time / dt, 0, last));
    chart.draw(time);
    element("returnNow").textContent = readable(returns[frame]);
    element("rewardNow").textContent = frame ? readable(rewards[frame - 1]) : "–";
    element("clock").textContent = `${time.toFixed(decimals)} / ${duration.toFixed(decimals)} s`;
    element("frameNow").textContent = `${frame} / ${last}`;
    element("scrub").value = time;
    element("scrub").setAttribute("aria-valuetext", `frame ${frame}, ${time.toFixed(2)} seconds`);
    return drawn;
  }

  function setPlaying(on) {
    playing = on && last > 0;
    if (playing && time >= duration) time = 0;
    element("play").classList.toggle("playing", playing);
    element("playLabel").textContent = playing ? "Pause" : "Play";
  }

  function seek(to) {
    setPlaying(false);
    time = clamp(to, 0, duration);
    return show();
  }

  const step = (count) => seek(clamp(Math.round(time / dt) + count, 0, last) * dt);

  // -- controls ------------------------------------------------------------------------------

  function press(id, on) {
    element(id).setAttribute("aria-pressed", on);
    return on;
  }
  const pressed = (id) => element(id).getAttribute("aria-pressed") === "true";

  function setTheme(dark) {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    stage.retheme();
    chart.resize();
  }

  function setSpeed(value) {
    speed = value;
    element("speed").value = String(value);
  }

  const actions = {
    play: () => setPlaying(!playing),
    back: () => step(-1),
    forward: () => step(1),
    loop: () => { looping = press("loop", !looping); },
    theme: () => setTheme(document.documentElement.dataset.theme !== "dark"),
    info() {
      const open = press("info", !pressed("info"));
      element("details").hidden = !open;
      element("info").setAttribute("aria-expanded", open);
    },
    ...(solid && {
      follow: () => stage.follow(press("follow", !pressed("follow"))),
      reset: () => press("follow", stage.reset()),
    }),
  };
  for (const [id, act] of Object.entries(actions)) element(id).addEventListener("click", act);
  element("speed").addEventListener("change", (event) => setSpeed(Number(event.target.value)));
  element("scrub").addEventListener("input", (event) => seek(Number(event.target.value)));

  const faster = (by) => setSpeed(SPEEDS[clamp(SPEEDS.indexOf(speed) + by, 0, SPEEDS.length - 1)]);
  const keys = {
    " ": actions.play, k: actions.play, l: actions.loop, t: actions.theme, i: actions.info,
    ArrowLeft: (event) => step(event.shiftKey ? -Math.round(1 / dt) : -1),
    ArrowRight: (event) => step(event.shiftKey ? Math.round(1 / dt) : 1),
    Home: () => seek(0), End: () => seek(duration), "[": () => faster(-1), "]": () => faster(1),
    ...(solid && {
      f: actions.follow, r: actions.reset,
      a: () => stage.orbit(-0.1, 0), d: () => stage.orbit(0.1, 0),
      w: () => stage.orbit(0, 0.07), s: () => stage.orbit(0, -0.07),
      "+": () => stage.orbit(0, 0, 0.9), "=": () => stage.orbit(0, 0, 0.9),
      "-": () => stage.orbit(0, 0, 1 / 0.9),
    }),
  };
  document.addEventListener("keydown", (event) => {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const act = Object.hasOwn(keys, key) ? keys[key] : null;
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("select")) return;
    event.preventDefault(); // a focused button must not also be pressed by Space
    act(event);
  });

  // -- set up --------------------------------------------------------------------------------

  fillDetails(recording.details, (recording.scene ?? recording.photos).notes);
  const summary = [`return ${readable(returns[last])}`, `${last.toLocaleString("en-US")} steps`,
    `${duration.toFixed(1)} s`];
  element("summary").textContent = summary.map((part) => part.replace(" ", "\u00a0")).join(" · ");
  element("scrub").max = duration;
  element("view").setAttribute("aria-label",
    `${solid ? "3-D view" : "Pictures"} of ${recording.title}`);
  element("chart").setAttribute("aria-label",
    `Reward trace of ${last} steps; the return is ${readable(returns[last])}. Click to seek.`);
  if (!solid) {
    for (const id of ["follow", "reset"]) element(id).hidden = true;
    for (const entry of document.querySelectorAll(".solid3d")) entry.hidden = true;
  } else {
    press("follow", recording.scene.view.follow);
  }
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  prefersDark.addEventListener("change", () => setTheme(prefersDark.matches));
  setTheme(prefersDark.matches);
  new ResizeObserver(() => {
    stage.resize();
    chart.resize();
    stage.tick();
  }).observe(document.body);

  let previous = null;
  function loop(now) {
    const elapsed = Math.min((now - (previous ?? now)) / 1000, 0.1);
    previous = now;
    if (playing) {
      time += elapsed * speed;
      if (time >= duration && looping) {
        time %= duration;
      } else if (time >= duration) {
        time = duration;
        setPlaying(false);
      }
      show();
    }
    stage.tick();
    requestAnimationFrame(loop);
  }

  /** What tests use: `seek` resolves when the frame is on the screen. */
  let ready = false;
  const drawn = () => new Promise((done) => requestAnimationFrame(done));
  const settled = () => drawn().then(drawn);
  window.viewer = Object.freeze({
    duration,
    get ready() { return ready; },
    get time() { return time; },
    seek: async (to) => { await seek(to); await settled(); },
  });
  Promise.resolve(show()).then(settled).then(() => { ready = true; });
  requestAnimationFrame(loop);
  if (!window.matchMedia("(prefers-reduced-motion: reduce)").matches) setPlaying(true);
}

start(JSON.parse(element("recording").textContent));
