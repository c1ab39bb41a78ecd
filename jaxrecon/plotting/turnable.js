// Structures that can be turned: by dragging, or by the arrow keys. Those of one figure turn together.
(() => {
  const turned = (by, [x, y, z]) => by.map((row) => row[0] * x + row[1] * y + row[2] * z);
  const product = (a, b) =>
    a.map((row) => [0, 1, 2].map((j) => row[0] * b[0][j] + row[1] * b[1][j] + row[2] * b[2][j]));
  const about = (right, up) => {
    const [c, s, d, t] = [Math.cos(right), Math.sin(right), Math.cos(up), Math.sin(up)];
    return product([[1, 0, 0], [0, d, -t], [0, t, d]], [[c, 0, s], [0, 1, 0], [-s, 0, c]]);
  };

  function draw(canvas, by) {
    const { atoms, bonds, edges } = JSON.parse(canvas.dataset.structure);
    const points = atoms.map(({ at }) => turned(by, at));
    const lines = edges.map((ends) => ends.map((end) => turned(by, end)));
    // The scale does not depend on the view, so that nothing grows or shrinks while it is turned.
    const far = Math.max(
      ...atoms.map(({ at, radius }) => Math.hypot(...at) + radius),
      ...edges.flat().map((end) => Math.hypot(...end)),
    );
    const sharp = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth * sharp, canvas.clientHeight * sharp];
    Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    const scale = (0.49 * Math.min(width, height)) / far;
    const place = ([x, y]) => [width / 2 + scale * x, height / 2 - scale * y];
    const line = (ends, colour, thick) => {
      pen.beginPath();
      ends.forEach((end) => pen.lineTo(...place(end)));
      pen.strokeStyle = colour;
      pen.lineWidth = thick * sharp;
      pen.stroke();
    };

    // Near things are drawn over distant ones, which are paler.
    const depths = points.map((point) => point[2]);
    const [least, most] = [Math.min(...depths), Math.max(...depths)];
    const parts = points.map((point, number) => [point[2], () => {
      const { radius, colour } = atoms[number];
      const pale = (0.45 * (most - point[2])) / Math.max(most - least, 1e-9);
      const mixed = colour.map((part) => Math.round(255 * (part + (1 - part) * pale)));
      pen.beginPath();
      pen.arc(...place(point), scale * radius, 0, 2 * Math.PI);
      pen.fillStyle = `rgb(${mixed})`;
      pen.strokeStyle = "#333";
      pen.lineWidth = sharp;
      pen.fill();
      pen.stroke();
    }]);
    for (const [i, j] of bonds) {
      const depth = Math.min(depths[i], depths[j]) + 1e-6;
      parts.push([depth, () => line([points[i], points[j]], "#333", 1.5)]);
    }
    lines.forEach((ends) => line(ends, "#999", 1));
    parts.sort((a, b) => a[0] - b[0]).forEach(([, paint]) => paint());
  }

  for (const figure of document.querySelectorAll("figure.turnable")) {
    const canvases = [...figure.querySelectorAll("canvas")];
    let by = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
    const show = () => canvases.forEach((canvas) => draw(canvas, by));
    const turn = (right, up) => {
      by = product(about(right, up), by);
      show();
    };
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    for (const canvas of canvases) {
      let last;
      canvas.addEventListener("pointerdown", (event) => {
        canvas.setPointerCapture(event.pointerId);
        last = [event.clientX, event.clientY];
      });
      canvas.addEventListener("pointermove", (event) => {
        if (!event.buttons) return;
        const now = [event.clientX, event.clientY];
        turn((now[0] - last[0]) / 80, (now[1] - last[1]) / 80);
        last = now;
      });
      canvas.addEventListener("keydown", (event) => {
        if (!(event.key in steps)) return;
        event.preventDefault();
        turn(...steps[event.key].map((step) => 0.2 * step));
      });
    }
    new ResizeObserver(show).observe(figure);
    show();
  }
})();
