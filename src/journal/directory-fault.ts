// Why the journal directory cannot be used at a start. Whoever must change something is told so (`config`: no restart by the
// service manager); a disk that is full, read-only or failing may be well again in a while.
import { PipitError, toError } from "../core/errors.ts";

const PASSING = new Set(["ENOSPC", "EDQUOT", "EROFS", "EIO", "EMFILE", "ENFILE", "ENOMEM", "ESTALE", "EBUSY"]);

export function directoryFault(doing: string, directory: string, thrown: unknown): PipitError {
  const error = toError(thrown) as NodeJS.ErrnoException;
  const kind = PASSING.has(error.code ?? "") ? "transient" : "config";
  return new PipitError(kind, "journal_directory", `journal: cannot ${doing} ${directory}: ${error.message}`, {
    cause: thrown,
  });
}
