// A worker in a process of its own: node worker-process.js <address> <queue> <what>. It tells on stdout what it took.
import { openQueue } from "../../dist/queue/open.js";

const [address, name, what] = process.argv.slice(2);
const queue = await openQueue(address);
const options = { name: "process", lockMs: 500, maximumStalls: 1 };
await queue.work([name], take, options);
console.log("ready");

async function take(job) {
  console.log(`took ${job.id}`);
  if (what === "die") process.kill(process.pid, "SIGKILL");
  if (what === "exit") process.exit(0);
  await new Promise((_, reject) => {
    job.signal.addEventListener("abort", () => {
      console.log(`stopped ${job.id} ${job.signal.reason}`);
      reject(new Error("stopped"));
    });
  });
}
