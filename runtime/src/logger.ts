import pino from 'pino'

// Every secret's place in one list: a call that logs a request or a setting need not remember to leave it out.
const SECRET_KEYS = ['authorization', 'cookie', 'set-cookie', 'x-api-key', 'password', 'token', 'secret', 'apiKey']
const REDACTED_PATHS = SECRET_KEYS.flatMap((key) => [`["${key}"]`, `*["${key}"]`, `*.*["${key}"]`])

export interface LoggerOptions {
  /** The process's name, on every line. */
  name: string
  level: pino.LevelWithSilent
  /** Where to append; its folder is created. Standard output where absent. */
  file?: string
}

/**
 * Returns a logger that writes one JSON object a line: ISO time, `name`, `pid`, and `[Redacted]` in place of
 * credentials up to three levels deep. Each line is written before the call returns, so none is lost when the process
 * exits or is killed. With `file`, SIGHUP opens the file anew: let logrotate move it away and send that signal.
 * A disk that is full does not end the process: it is said on standard error, and the lines wait in memory for space.
 */
export function createLogger({ name, level, file }: LoggerOptions): pino.Logger {
  return pino(
    {
      level,
      base: { name, pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: REDACTED_PATHS,
    },
    openDestination(name, file),
  )
}

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
  if (file !== undefined) {
    process.on('SIGHUP', () => {
      try {
        destination.reopen()
      } catch (error) {
        fail(error)
      }
    })
  }
  return destination
}
