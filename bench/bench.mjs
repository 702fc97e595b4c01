#!/usr/bin/env node
// Installs what the benchmark alone needs where that is missing or outdated, builds it, runs it.
import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = dirname(fileURLToPath(import.meta.url))
const inFolder = (path) => join(folder, path)

const run = (program, args) => {
  const { status, error } = spawnSync(program, args, { cwd: folder, stdio: 'inherit' })
  if (error !== undefined) throw error
  if (status !== 0) process.exit(status ?? 1)
}

const installed = inFolder('node_modules/.package-lock.json')
const isInstalled =
  existsSync(installed) && statSync(installed).mtimeMs >= statSync(inFolder('package-lock.json')).mtimeMs
if (!isInstalled) {
  console.error('bench: installing the peers, two of them with a native build')
  run('npm', ['ci'])
}
run(process.execPath, [inFolder('../node_modules/typescript/bin/tsc'), '-b', '.'])
// Its own process, so that a benchmark that does not end can be ended from here.
run(process.execPath, [inFolder('dist/src/main.js'), ...process.argv.slice(2)])
