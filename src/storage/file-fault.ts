/** @file What an error of the file system says about a storage. */

import type { StorageFault } from "./contract.js";

type Reason = readonly [fault: StorageFault, actual: string];

/** By the codes of the system. */
const REASONS: Readonly<Record<string, Reason>> = {
  ENOSPC: ["unavailable", "a full disk"],
  EDQUOT: ["unavailable", "a quota that is used up"],
  EIO: ["unavailable", "an input/output error"],
  ESTALE: ["unavailable", "a stale handle of the network file system"],
  ENOTCONN: ["unavailable", "a file system that lost its connection"],
  ETIMEDOUT: ["unavailable", "no answer of the file system"],
  EHOSTDOWN: ["unavailable", "no answer of the file system"],
  EHOSTUNREACH: ["unavailable", "no answer of the file system"],
  ENODEV: ["unavailable", "a device that is gone"],
  EBUSY: ["unavailable", "a file that is busy"],
  EAGAIN: ["unavailable", "a file that is busy"],
  ENOLCK: ["unavailable", "no lock of the network file system"],
  EMFILE: ["unavailable", "too many open files"],
  ENFILE: ["unavailable", "too many open files"],
  ENOENT: ["unavailable", "a folder that was removed meanwhile"],
  EACCES: ["denied", "no permission"],
  EPERM: ["denied", "no permission"],
  EROFS: ["denied", "a read-only file system"],
  ELOOP: ["invalid", "a symbolic link"],
  ENXIO: ["invalid", "a special file"],
  EXDEV: ["invalid", "a folder on another file system"],
};

/** The fault that `error` stands for, and what to say came instead. */
export function fileFault(error: unknown): Reason {
  const { code = "", message } = error as NodeJS.ErrnoException;
  return REASONS[code] ?? ["invalid", message];
}
