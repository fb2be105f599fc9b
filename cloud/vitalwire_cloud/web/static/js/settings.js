// The display dialog: paper speed, gain, true size on this screen, grid and beat marks.

import { byId, text } from './dom.js';
import { paper } from './paper.js';

export function bindSettings() {
  const fill = () => {
    byId('set-speed').value = String(paper.speed);
    byId('set-gain').value = String(paper.gain);
    byId('set-scale').value = String(paper.pxPerMm);
    byId('set-grid').checked = paper.grid;
    byId('set-beats').checked = paper.beats;
    byId('ruler').style.setProperty('width', `${50 * paper.pxPerMm}px`);
    text(byId('scale-value'), `${paper.pxPerMm.toFixed(2)} pixels per millimetre`);
  };
  byId('settings-open').addEventListener('click', () => {
    fill();
    byId('settings').showModal();
  });
  byId('set-speed').addEventListener('change', (event) => paper.set({ speed: Number(event.target.value) }));
  byId('set-gain').addEventListener('change', (event) => paper.set({ gain: Number(event.target.value) }));
  byId('set-scale').addEventListener('input', (event) => paper.set({ pxPerMm: Number(event.target.value) }));
  byId('set-grid').addEventListener('change', (event) => paper.set({ grid: event.target.checked }));
  byId('set-beats').addEventListener('change', (event) => paper.set({ beats: event.target.checked }));
  byId('scale-reset').addEventListener('click', () => paper.resetScale());
  paper.addEventListener('change', fill);
}
