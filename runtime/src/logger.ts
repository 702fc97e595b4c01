import pino from 'pino'

// Every secret's place in one list: a call that logs a request or a setting need not remember to leave it out.
const SECRET_KEYS = [
  ...['authorization', 'cookie', 'set-cookie', 'x-api-key'],
  ...['password', 'token', 'secret', 'apiKey'],
]
const isSecret = new Set(SECRET_KEYS)
const REDACTED = '[Redacted]'
const REDACTED_DEPTH = 3
/** Pino's number of the level. */
const WARN = 40

export interface LoggerOptions {
  /** The process's name, on every line. */
  name: string
  level: pino.LevelWithSilent
  /** Where to append; its folder is created. Standard output where absent. */
  file?: string
}

/**
 * Returns a logger that writes one JSON object a line: ISO time, `name`, `pid`, and `[Redacted]` in place of
 * credentials up to three levels deep. The lines of one turn of the event loop are written together at its end, and
 * before a warning or an error returns: none is lost when the process exits, and none of an earlier turn when it is
 * killed. With `file`, SIGHUP opens the file anew: let logrotate move it away and send that signal.
 * A disk that is full does not end the process: it is said on standard error, and the lines wait in memory for space.
 */
export function createLogger({ name, level, file }: LoggerOptions): pino.Logger {
  return pino(
    {
      level,
      base: { name, pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      // Pino's own for what is outermost, with children too; with wildcards it takes longer than all the rest of a line.
      redact: { paths: SECRET_KEYS.map((key) => `["${key}"]`), censor: REDACTED },
      formatters: { log: (facts) => redacted(facts) },
      serializers: { err: (error: Error) => redacted(pino.stdSerializers.err(error)) },
    },
    openDestination(name, file),
  )
}

/** A copy without credentials; the same object where there are none. */
function redacted<Facts extends object>(facts: Facts, depth = 1): Facts {
  let copy: Facts | undefined
  for (const [key, value] of Object.entries(facts)) {
    const clean = isSecret.has(key) ? REDACTED : mayHold(value, depth) ? redacted(value, depth + 1) : value
    if (clean === value) continue
    copy ??= (Array.isArray(facts) ? [...facts] : { ...facts }) as Facts
    Object.assign(copy, { [key]: clean })
  }
  return copy ?? facts
}

/** An error is left to the serializer, which knows its parts. */
const mayHold = (value: unknown, depth: number): value is object =>
  typeof value === 'object' && value !== null && depth < REDACTED_DEPTH && !(value instanceof Error)

function openDestination(name: string, file: string | undefined) {
  const destination = pino.destination({ dest: file ?? 1, mkdir: true, sync: true })
  let failing = false
  const fail = (error: unknown) => {
    if (!failing) process.stderr.write(`${name}: the log cannot be written: ${error}\n`)
    failing = true
  }
  // No maxLength here: once it is reached, a line that is dropped no longer tries to write those that wait.
  destination.on('error', fail)
  destination.on('write', () => {
    failing = false
  })
  const buffer = bufferedByTurn(destination)
  process.on('exit', buffer.flush)
  if (file !== undefined) {
    process.on('SIGHUP', () => {
      try {
        buffer.flush()
        destination.reopen()
      } catch (error) {
        fail(error)
      }
    })
  }
  return buffer
}

/** To write is what a line costs most. */
function bufferedByTurn(destination: { write: (text: string) => void }) {
  let lines = ''
  const flush = (): void => {
    const text = lines
    lines = ''
    if (text !== '') destination.write(text)
  }
  return {
    // Makes pino set `lastLevel` before each line.
    [Symbol.for('pino.metadata')]: true,
    lastLevel: 0,
    write(line: string): void {
      if (lines === '') setImmediate(flush)
      lines += line
      if (this.lastLevel >= WARN) flush()
    },
    flush,
  }
}
