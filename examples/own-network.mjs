/**
 * @file A network of your own: built from ops, differentiated, and trained, all on ONNX Runtime.
 *
 *     node examples/own-network.mjs
 *
 * A graph is made of immutable values. `gradient` gives more graph, so that one program returns a loss and its gradients; `train` does the updates
 * in the device process.
 */

import { float32, gradient, openDevice, ops, rootScope, TorchGenerator, train } from "laurel";

const device = openDevice();

// y = x1 * x2 is learnt by a perceptron with one hidden layer: y = w2 gelu(w1 x + b1) + b2
const HIDDEN = 32;
const scope = rootScope({ mode: "training" });
const x = ops.input("x", "float32", ["N", 2]);
const y = ops.input("y", "float32", ["N", 1]);
const hidden = ops.gelu(
  ops.add(
    ops.matMul(x, scope.at("layer1").parameter("weight", [2, HIDDEN])),
    scope.at("layer1").parameter("bias", [HIDDEN]),
  ),
);
const predicted = ops.add(
  ops.matMul(hidden, scope.at("layer2").parameter("weight", [HIDDEN, 1])),
  scope.at("layer2").parameter("bias", [1]),
);
const error = ops.sub(predicted, y);
const loss = ops.reduceMean(ops.mul(error, error), [0, 1], { keepDims: false });

const random = new TorchGenerator(0);
const parameters = new Map([
  ["layer1.weight", float32([2, HIDDEN], random.randn(2 * HIDDEN))],
  ["layer1.bias", float32([HIDDEN], new Float32Array(HIDDEN))],
  [
    "layer2.weight",
    float32(
      [HIDDEN, 1],
      random.randn(HIDDEN).map((value) => value / Math.sqrt(HIDDEN)),
    ),
  ],
  ["layer2.bias", float32([1], new Float32Array(1))],
]);

// The slope of the loss with respect to the inputs, against a difference quotient.
const [slope] = gradient(loss, [x]);
if (slope === undefined) throw new Error("expected a gradient");
const program = await device.compile(ops.graph("perceptron", { loss, slope }), { weights: parameters });
const at = (/** @type {number} */ x1) => program.run({ x: float32([1, 2], [x1, 0.5]), y: float32([1, 1], [0.2]) });
const [here, left, right] = [await at(0.3), await at(0.29), await at(0.31)];
const value = (/** @type {typeof here} */ outputs, /** @type {string} */ name) => Number(outputs[name]?.data[0]);
const quotient = (value(right, "loss") - value(left, "loss")) / 0.02;
console.log(`slope ${value(here, "slope").toFixed(3)}, difference quotient ${quotient.toFixed(3)}`);
await program.dispose();

const { steps, firstLoss, lastLoss } = await train(device, {
  task: "product",
  objective: { loss, parameters },
  optimizer: { schedule: { type: "cosine", learningRate: 0.02 } },
  steps: 300,
  batchSize: 64,
  seed: 1,
  batch: (_, generator) => {
    const points = generator.uniform(128).map((u) => 2 * u - 1);
    const products = Float32Array.from({ length: 64 }, (_, i) => (points[2 * i] ?? 0) * (points[2 * i + 1] ?? 0));
    return { x: float32([64, 2], points), y: float32([64, 1], products) };
  },
});
console.log(`${steps} updates: mean squared error from ${firstLoss.toFixed(4)} to ${lastLoss.toFixed(6)}`);
await device.close();
