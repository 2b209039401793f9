// The canvas has the picture's own pixels; opaque ones are masked. `limnerMask` is the mask as a black and white PNG.
const one = (name) => element.querySelector(name);
const brush = {x: 0.5, y: 0.5};
let last = null;

const percent = () => Number(one('input').value);
const radius = () => percent() / 200 * Math.min(one('canvas').width, one('canvas').height);

function told() {
  const canvas = one('canvas'), data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0;
  for (let i = 3; i < data.length; i += 4) count += data[i] > 127;
  one('output').textContent = Math.round(100 * count / (data.length / 4)) + ' % is painted';
}
function stroke(from, to, wipes) {
  const canvas = one('canvas'), pen = canvas.getContext('2d');
  pen.globalCompositeOperation = wipes ? 'destination-out' : 'source-over';
  pen.strokeStyle = pen.fillStyle = '#e11d48';
  pen.lineCap = 'round';
  pen.lineWidth = 2 * radius();
  pen.beginPath();
  pen.moveTo(from.x * canvas.width, from.y * canvas.height);
  pen.lineTo(to.x * canvas.width + 0.01, to.y * canvas.height);
  pen.stroke();
}
function ring() {
  const canvas = one('canvas'), mark = one('.brush'), side = 2 * radius() / canvas.width * canvas.clientWidth;
  mark.style.width = mark.style.height = side + 'px';
  mark.style.left = brush.x * canvas.clientWidth + 'px';
  mark.style.top = brush.y * canvas.clientHeight + 'px';
}
function begin() {
  const img = one('img'), canvas = one('canvas'), holder = one('.painter');
  if (!img || !canvas) return;
  holder.hidden = !holder.dataset.picture;
  const fit = () => { canvas.width = img.naturalWidth; canvas.height = img.naturalHeight; told(); ring(); };
  if (img.complete && img.naturalWidth) fit();
  img.addEventListener('load', fit);
}
const inside = (event) => {
  const box = one('canvas').getBoundingClientRect();
  return {x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height};
};
element.addEventListener('pointerdown', (event) => {
  if (event.target !== one('canvas')) return;
  event.target.setPointerCapture(event.pointerId);
  Object.assign(brush, last = inside(event));
  stroke(last, last, event.button === 2);
  ring();
});
element.addEventListener('pointermove', (event) => {
  if (event.target !== one('canvas')) return;
  const now = inside(event);
  Object.assign(brush, now);
  if (last) { stroke(last, now, event.buttons === 2); last = now; }
  ring();
});
element.addEventListener('pointerup', () => { if (last) { last = null; told(); } });
element.addEventListener('pointercancel', () => { last = null; });
element.addEventListener('contextmenu', (event) => { if (event.target === one('canvas')) event.preventDefault(); });
element.addEventListener('input', ring);
element.addEventListener('keydown', (event) => {
  if (event.target !== one('canvas')) return;
  const move = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  const before = {...brush}, held = event.shiftKey;
  if (move) {
    brush.x = Math.min(1, Math.max(0, brush.x + move[0] * percent() / 200));
    brush.y = Math.min(1, Math.max(0, brush.y + move[1] * percent() / 200));
    if (held) stroke(before, brush, false);
  } else if (event.key === ' ') stroke(brush, brush, false);
  else if (event.key === 'Backspace' || event.key === 'Delete') stroke(brush, brush, true);
  else if (event.key === '+' || event.key === '-') one('input').value = percent() + (event.key === '+' ? 2 : -2);
  else return;
  event.preventDefault();
  told();
  ring();
});
element.addEventListener('click', (event) => {
  const what = event.target.dataset && event.target.dataset.do;
  if (!what) return;
  const canvas = one('canvas'), pen = canvas.getContext('2d');
  pen.globalCompositeOperation = what === 'wipe' ? 'destination-out' : 'xor';
  pen.fillStyle = '#e11d48';
  pen.fillRect(0, 0, canvas.width, canvas.height);
  told();
});
window.limnerMask = () => {
  const canvas = one('canvas');
  if (!canvas || !one('.painter').dataset.picture) return '';
  const mask = document.createElement('canvas'), pen = mask.getContext('2d');
  mask.width = canvas.width;
  mask.height = canvas.height;
  const pixels = canvas.getContext('2d').getImageData(0, 0, mask.width, mask.height);
  for (let i = 0; i < pixels.data.length; i += 4) {
    const light = pixels.data[i + 3] > 127 ? 255 : 0;
    pixels.data[i] = pixels.data[i + 1] = pixels.data[i + 2] = light;
    pixels.data[i + 3] = 255;
  }
  pen.putImageData(pixels, 0, 0);
  return mask.toDataURL('image/png');
};
watch('value', begin);
begin();
