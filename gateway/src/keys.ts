/**
 * Where the credentials come from. What is in a file can be replaced while the gateway runs: it is looked at for every
 * call, and where it cannot be read, or says nothing, the last that was good stays.
 */
import { readFileSync, statSync } from 'node:fs'

/** No header may have others; a key that was copied with its line end has no others either. */
const KEY = /^[\x21-\x7e]{1,8192}$/

export class KeyError extends Error {
  override name = 'KeyError'
}

export type Key = {
  read: () => string
  /** Reads the file whether it seems to have changed or not. */
  reload: () => void
}

/** `name` is said in errors, the key never. Throws `KeyError`. */
export function keyOf(name: string, given: string): Key {
  const key = checked(name, given)
  return { read: () => key, reload: () => {} }
}

/** Throws `KeyError` where there is no key in the file yet; later `warn` is told, once for each change. */
export function keyFileOf(name: string, file: string, warn: (facts: object, message: string) => void): Key {
  const load = (): string => {
    try {
      return checked(name, readFileSync(file, 'utf8').trim())
    } catch (error) {
      if (error instanceof KeyError) throw error
      throw new KeyError(`${name}: ${file} cannot be read (${codeOf(error)})`)
    }
  }
  let stamp = stampOf(file)
  let key = load()
  const reload = (): void => {
    try {
      key = load()
    } catch (error) {
      warn({ file, problem: (error as Error).message }, 'a key could not be read, the one before stays')
    }
  }
  return {
    read(): string {
      const now = stampOf(file)
      if (now !== stamp) {
        stamp = now
        reload()
      }
      return key
    },
    reload,
  }
}

function checked(name: string, key: string): string {
  if (!KEY.test(key)) throw new KeyError(`${name} must be visible ASCII characters, and there must be some`)
  return key
}

/** Another one after every change, also where a link leads elsewhere. */
function stampOf(file: string): string {
  try {
    const { ino, size, mtimeNs, ctimeNs } = statSync(file, { bigint: true })
    return [ino, size, mtimeNs, ctimeNs].join()
  } catch (error) {
    return codeOf(error)
  }
}

const codeOf = (error: unknown): string => String((error as { code?: unknown } | null)?.code)
