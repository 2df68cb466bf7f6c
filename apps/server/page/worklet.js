// Takes the microphone's samples, first channel, to the page in pieces.

const PIECE = 2048; // samples

class Tap extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Float32Array(PIECE), this.filled = 0;
  }

  process([inputs]) {
    const samples = inputs[0];
    for (let i = 0; samples && i < samples.length; i++) {
      this.piece[this.filled++] = samples[i];
      if (this.filled === PIECE) {
        this.port.postMessage(this.piece, [this.piece.buffer]);
        this.piece = new Float32Array(PIECE), this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("tap", Tap);
