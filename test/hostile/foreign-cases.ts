/** @file Files that are something else, put where each kind of file is expected: recognised by name, from every entry point. */

import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { decodeImageFile } from "#laurel/image/decode";
import { readRun } from "#laurel/pipeline/run-store";
import { openBertTokenizer } from "#laurel/tokenizers/bert";
import { openClipTokenizer } from "#laurel/tokenizers/clip";
import { readDemoSettings } from "#laurel/training/demo-settings";
import { openWeights } from "#laurel/weights/open";
import { openClip, openReward } from "./models.js";
import type { HostileCase, Table } from "./runner.js";

/** A tar archive as old PyTorch wrote it; the first member's name can pose as something else. */
function tar(name = "storages"): Buffer {
  const header = Buffer.alloc(1024);
  header.write(name, 0, "latin1");
  header.write("ustar", 257, "latin1");
  return header;
}

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");

/** What download tools, editors and other programs leave where a model or an image should be. */
const CONTENTS: readonly (readonly [name: string, content: string | Buffer, message: RegExp])[] = [
  [
    "a git LFS pointer",
    "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1790000000\n",
    /got a git LFS pointer to 1790000000 bytes; fetch the file itself with git lfs pull$/,
  ],
  ["a web page", "<!DOCTYPE html><html><body>Please log in</body></html>", /got a web page \(a download that/],
  ["a web page behind spaces", "\n\n <html>", /got a web page/],
  ["an XML error", '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', /got a web page/],
  ["an empty file", "", /got an empty file/],
  ["a GGUF model", latin1("GGUF\x03\0\0\0"), /got a GGUF file/],
  ["an ONNX model", latin1("\x08\x08\x12\x07pytorch\x1a\x052.1.0"), /got an ONNX model/],
  ["a TensorFlow Lite model", latin1("\x1c\0\0\0TFL3"), /got a TensorFlow Lite model/],
  ["a Keras model", latin1("\x89HDF\r\n\x1a\n"), /got an HDF5 \(Keras\) file/],
  ["a NumPy array", latin1("\x93NUMPY\x01\0"), /got a NumPy array/],
  ["a gzip archive", gzipSync("x"), /got a gzip archive/],
  ["a 7z archive", latin1("7z\xbc\xaf\x27\x1c\0\x04"), /got a 7z archive/],
  ["a RAR archive", latin1("Rar!\x1a\x07\x01\0"), /got a RAR archive/],
  ["a tar archive", tar(), /got a tar archive \(PyTorch 0.1.1 or older\)/],
  ["a PDF document", "%PDF-1.7\n", /got a PDF document/],
  ["an SVG drawing", "<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'/>", /got an SVG drawing/],
  ["a program", latin1("\x7fELF\x02\x01\x01\0"), /got a program/],
  ["a shell script", "#!/bin/sh\ntouch canary\n", /got a program/],
];

/** Things that are no regular file, or cannot be read. */
const SPECIAL: readonly (readonly [name: string, make: (path: string) => void, message: RegExp])[] = [
  ["a pipe", (path) => void execFileSync("mkfifo", [path]), /got a special file \(a pipe or a device\)/],
  ["a link to /dev/zero", (path) => symlinkSync("/dev/zero", path), /got a special file/],
  ["a link to /dev/tty", (path) => symlinkSync("/dev/tty", path), /got a special file|ENXIO|no such device/i],
  ["a link to itself", (path) => symlinkSync(basename(path), path), /got symbolic links in a circle/],
  ["a link to nothing", (path) => symlinkSync("nothing", path), /got no such file|got none|got neither|got no file/],
  ["a folder", (path) => void mkdirSync(path), /got a folder|got an empty folder|got no such file|got neither/],
  [
    "a file without permission",
    (path) => (writeFileSync(path, "x"), chmodSync(path, 0)),
    /got no permission to read it/,
  ],
];

interface Entry {
  readonly name: string;
  /** The file to be replaced, in the folder. */
  readonly file: string;
  readonly open: (path: string) => unknown;
  readonly exit?: HostileCase["exit"];
  /** Contents that are the right kind here, or are told otherwise. */
  readonly except?: readonly string[];
}

/** Every way a file of the user's comes in. */
const ENTRIES: readonly Entry[] = [
  { name: "weights", file: "model.safetensors", open: openWeights },
  { name: "an ImageReward", file: "ImageReward.pt", open: openReward },
  { name: "an image", file: "a.png", open: decodeImageFile, exit: "usage" },
  {
    name: "a CLIP vocabulary",
    file: "vocab.json",
    open: (path) => openClipTokenizer(dirname(path)),
    except: ["a link to nothing"],
  },
  {
    name: "a BERT vocabulary",
    file: "vocab.txt",
    open: (path) => openBertTokenizer(dirname(path), { maxLength: 8 }),
    except: ["a link to nothing"],
  },
  { name: "a network's configuration", file: "config.json", open: (path) => openClip(dirname(path)) },
  { name: "a run", file: "run.json", open: readRun, exit: "usage", except: ["a folder"] },
  {
    name: "training settings",
    file: "judge.yaml",
    open: (path) => readDemoSettings("judge", path),
    exit: "usage",
    except: ["an empty file"],
  },
];

const isRoot = process.getuid?.() === 0;

/** What is recognised by name wherever it lies. */
export const FOREIGN: Table = {
  title: "foreign",
  cases: ENTRIES.flatMap(({ name: entry, file, open, exit = "model", except = [] }) => {
    const contents = CONTENTS.map(([name, content, message]): HostileCase => ({
      name: `${name} in place of ${entry}`,
      make: (folder) => (writeFileSync(join(folder, file), content), join(folder, file)),
      ...{ open, exit, message },
    }));
    const special = SPECIAL.map(([name, make, message]): HostileCase => ({
      name: `${name} in place of ${entry}`,
      make: (folder) => (make(join(folder, file)), join(folder, file)),
      ...{ open, exit, message },
    }));
    // For root every file can be read.
    const left = special.filter(({ name }) => !(isRoot && name.startsWith("a file without permission")));
    return [...contents, ...left].filter(({ name }) => !except.some((one) => name.startsWith(one)));
  }),
};
