// The reward trace: reward per step (thin line, left axis) and return so far (thick, right axis).

/** Round values that cut [low, high] into about `count` parts, as {value, label}. */
function ticks(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw) * power;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-6; i++) {
    const value = Math.abs(i) < 1e-9 ? 0 : i * step;
    found.push({ value, label: tickLabel(value, step) });
  }
  return found;
}

/** [low, high] of `values`, widened so that lines never touch the border, and ticks stay short. */
function span(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (!(high > low)) [low, high] = [(low || 0) - 1, (high || 0) + 1];
  // A thousandth of what is shown: less could not be told apart in the gutter.
  const size = Math.max(high - low, 1e-3 * Math.max(Math.abs(low), Math.abs(high)));
  const middle = (low + high) / 2;
  return [middle - 0.58 * size, middle + 0.58 * size];
}

/** A tick's label with as many digits as a step needs, so that no two are alike. */
function tickLabel(value, step) {
  if (value === 0) return "0";
  const [unit, suffix] = Math.abs(value) >= 10000 ? [1000, "k"] : [1, ""];
  const place = Math.floor(Math.log10(step / unit) + 1e-9);
  const half = Math.round(step / unit / 10 ** (place - 1)) === 25; // 2.5 has a digit more
  const digits = Math.max(0, half - place);
  if (digits <= 5) return `${(value / unit).toFixed(digits)}${suffix}`;
  return value.toExponential(Math.max(0, Math.floor(Math.log10(Math.abs(value)) + 1e-9) + digits));
}

/**
 * Draws into `canvas`; `onSeek(time)` is called for clicks and drags.
 * rewards: [F - 1], the reward of step i arriving at frame i + 1; returns: [F].
 */
function makeChart(canvas, { rewards, returns, dt, onSeek }) {
  const context = canvas.getContext("2d");
  const duration = Math.max(rewards.length * dt, 1e-9);
  const rewardSpan = span(rewards), returnSpan = span(returns);
  let box, lines, colors, time = 0, hover = null;

  const xOf = (t) => box.left + (t / duration) * box.width;
  const yOf = (value, [low, high]) => box.top + box.height * (1 - (value - low) / (high - low));

  function path(values, first, range) {
    const line = new Path2D();
    values.forEach((value, i) => {
      line[i ? "lineTo" : "moveTo"](xOf((i + first) * dt), yOf(value, range));
    });
    return line;
  }

  /** Also after a change of theme. */
  function resize() {
    const ratio = window.devicePixelRatio || 1;
    const { width, height } = canvas.getBoundingClientRect();
    canvas.width = Math.max(1, Math.round(width * ratio));
    canvas.height = Math.max(1, Math.round(height * ratio));
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const gutter = parseFloat(themed("--gutter"));
    box = { left: gutter, top: 6, width: Math.max(1, width - 2 * gutter), height: height - 24 };
    box.right = box.left + box.width;
    box.bottom = box.top + box.height;
    const names = ["ink", "line", "muted", "panel", "return", "reward"];
    colors = Object.fromEntries(names.map((name) => [name, themed(`--${name}`)]));
    lines = { reward: path(rewards, 1, rewardSpan), total: path(returns, 0, returnSpan) };
    draw();
  }

  function text(label, x, y, align, color) {
    context.textAlign = align;
    context.fillStyle = color;
    context.fillText(label, x, y);
  }

  function drawAxes() {
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.lineWidth = 1;
    context.strokeStyle = colors.line;
    const rows = Math.max(1, Math.round(box.height / 26));
    for (const { value, label } of ticks(...returnSpan, rows)) {
      const y = Math.round(yOf(value, returnSpan)) + 0.5;
      context.beginPath();
      context.moveTo(box.left, y);
      context.lineTo(box.right, y);
      context.stroke();
      text(label, box.right + 7, y, "left", colors.return);
    }
    for (const { value, label } of ticks(...rewardSpan, rows)) {
      text(label, box.left - 7, yOf(value, rewardSpan), "right", colors.reward);
    }
    const seconds = ticks(0, duration, Math.max(2, Math.floor(box.width / 110)));
    for (const { value, label } of seconds) {
      text(`${label} s`, xOf(value), box.bottom + 11, "center", colors.muted);
    }
  }

  function drawLines(from, to, alpha) {
    context.save();
    context.beginPath();
    context.rect(from, box.top - 2, to - from, box.height + 4);
    context.clip();
    context.globalAlpha = alpha;
    context.lineJoin = "round";
    context.lineWidth = 1;
    context.strokeStyle = colors.reward;
    context.stroke(lines.reward);
    context.lineWidth = 2.5;
    context.strokeStyle = colors.return;
    context.stroke(lines.total);
    context.restore();
  }

  function drawCursor(at, color) {
    context.strokeStyle = color;
    context.lineWidth = 1.5;
    context.beginPath();
    context.moveTo(xOf(at), box.top - 2);
    context.lineTo(xOf(at), box.bottom + 2);
    context.stroke();
  }

  function drawHover() {
    const frame = Math.round(hover / dt);
    const reward = frame ? ` · reward ${readable(rewards[frame - 1])}` : "";
    const label = `${(frame * dt).toFixed(2)} s · return ${readable(returns[frame])}${reward}`;
    drawCursor(hover, colors.muted);
    const width = context.measureText(label).width + 14;
    const x = clamp(xOf(hover) - width / 2, box.left, Math.max(box.left, box.right - width));
    context.fillStyle = colors.ink;
    context.beginPath();
    context.roundRect(x, box.top, width, 20, 6);
    context.fill();
    text(label, x + 7, box.top + 10.5, "left", colors.panel);
  }

  function draw() {
    context.clearRect(0, 0, canvas.width, canvas.height);
    drawAxes();
    // What is still to come is paler: the trace itself shows how far the episode is.
    drawLines(xOf(time), box.right + 2, 0.32);
    drawLines(box.left - 2, xOf(time), 1);
    drawCursor(time, colors.ink);
    const frame = time / dt, before = Math.min(Math.floor(frame), returns.length - 1);
    const after = Math.min(before + 1, returns.length - 1);
    const total = returns[before] + (frame - before) * (returns[after] - returns[before]);
    context.fillStyle = colors.return;
    context.beginPath();
    context.arc(xOf(time), yOf(total, returnSpan), 4, 0, 2 * Math.PI);
    context.fill();
    if (hover !== null) drawHover();
  }

  const timeAt = (event) => {
    const x = event.clientX - canvas.getBoundingClientRect().left;
    return clamp((x - box.left) / box.width, 0, 1) * rewards.length * dt;
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    hover = null;
    onSeek(timeAt(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons & 1) return onSeek(timeAt(event));
    hover = event.pointerType === "mouse" ? timeAt(event) : null;
    draw();
  });
  canvas.addEventListener("pointerleave", () => {
    hover = null;
    draw();
  });
  return { resize, draw: (now) => { time = now; draw(); } };
}
