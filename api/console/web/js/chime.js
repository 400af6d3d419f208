const NOTES = [880, 1174.7]; // Hz, one after the other
const NOTE = 0.16; // s
const LOUD = 0.2;
const APART = 1000; // ms from one sound to the next

let audio = null;
let last = -Infinity;

/**
 * Plays two short notes, at most once a second. Before anybody has used the page browsers keep it
 * silent, and would play later what has been started.
 */
export function chime() {
  if (navigator.userActivation?.hasBeenActive === false || performance.now() - last < APART) return;
  last = performance.now();
  try {
    audio ??= new AudioContext();
  } catch {
    return; // there is nothing to hear it with
  }
  audio.resume().catch(() => {});
  NOTES.forEach((frequency, i) => {
    const start = audio.currentTime + i * NOTE;
    const note = new OscillatorNode(audio, { frequency });
    const gain = new GainNode(audio, { gain: 0 });
    gain.gain.setValueAtTime(0, start);
    gain.gain.linearRampToValueAtTime(LOUD, start + 0.02);
    gain.gain.exponentialRampToValueAtTime(0.001, start + 2 * NOTE);
    note.connect(gain).connect(audio.destination);
    note.start(start);
    note.stop(start + 2 * NOTE);
  });
}
