/** Run by the tests as a parent that dies: opens a device, prints its process id and runs for minutes. */
import { graph, input, matMul } from "../../dist/graph/builder.js";
import { openDevice } from "../../dist/runtime/device.js";

const device = openDevice({ threads: 1 });
const x = input("x", "float32", ["N", 512, 512]);
let y = x;
for (let i = 0; i < 200; i++) y = matMul(y, x);
const program = await device.compile(graph("endless", { y }));
console.log(device.pid);
if (process.argv[2] === "exit") process.exit(0);
if (process.argv[2] === "run")
  program
    .run({ x: { dtype: "float32", shape: [32, 512, 512], data: new Float32Array(32 * 512 * 512) } })
    .catch(() => undefined);
if (process.argv[2] === "hang") setInterval(() => undefined, 1000);
