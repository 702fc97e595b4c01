/** The socket of the control API: of the owner alone, never of two processes at a time. */
import { chmodSync, closeSync, constants, lstatSync, mkdirSync, openSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { basename, dirname, join } from 'node:path'

export class SocketInUseError extends Error {
  override name = 'SocketInUseError'
}

/**
 * Calls `listen` with a path that leads to `file` and is short enough for the system, wherever `file` is. Removes what
 * a process has left that is gone; throws `SocketInUseError` where one still answers, or where it is no socket.
 */
export async function listenOn(file: string, listen: (path: string) => Promise<unknown>): Promise<void> {
  const folder = dirname(file)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const folderFd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  const path = process.platform === 'linux' ? join(`/proc/self/fd/${folderFd}`, basename(file)) : file
  try {
    await removeStale(file, path)
    await listen(path)
    chmodSync(path, 0o600)
  } catch (error) {
    closeSync(folderFd)
    throw error
  }
}

async function removeStale(file: string, path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) throw new SocketInUseError(`${file} is there already, and no socket`)
  const answers = await new Promise<boolean>((resolve) => {
    const socket = connect(path, () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
  if (answers) throw new SocketInUseError(`another process listens on ${file}`)
  rmSync(path, { force: true })
}
