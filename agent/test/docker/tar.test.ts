// What GNU tar makes of our archives: it is what Docker's reader was tested against too.
import { execFileSync } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { tarOf } from '../../src/docker/tar.ts'

const unpacked = (dir: string, tar: Buffer): string =>
  execFileSync('tar', ['-xvf', '-', '-C', dir, '--no-same-owner'], { input: tar }).toString()

t.test('files and folders come out as they went in', async (t) => {
  const dir = t.testdir()
  const binary = Buffer.from(Array.from({ length: 1500 }, (_, index) => index % 256))
  const long = `${'folder/'.repeat(20)}${'ü'.repeat(100)}`
  const entry = (path: string, content: Buffer | null, mode = 0o644) => ({ path, mode, uid: 0, content })
  unpacked(
    dir,
    tarOf([
      entry('empty', Buffer.alloc(0)),
      entry('a', null, 0o755),
      entry('a/run', Buffer.from('#!/bin/sh\n'), 0o755),
      entry('a/block', Buffer.alloc(512, 1)),
      entry('binary', binary),
      entry(long, Buffer.from('deep')),
      entry('--help', Buffer.from('no option')),
    ]),
  )
  t.equal(readFileSync(join(dir, 'empty')).length, 0)
  t.equal(statSync(join(dir, 'a/run')).mode & 0o777, 0o755)
  t.equal(statSync(join(dir, 'empty')).mode & 0o777, 0o644)
  t.same(readFileSync(join(dir, 'a/block')), Buffer.alloc(512, 1))
  t.same(readFileSync(join(dir, 'binary')), binary)
  t.equal(readFileSync(join(dir, long), 'utf8'), 'deep')
  t.equal(readFileSync(join(dir, '--help'), 'utf8'), 'no option')
})

t.test('names around the limit of the plain header', async (t) => {
  for (const length of [98, 99, 100, 101, 102, 120, 255]) {
    const dir = t.testdir()
    const name = 'x'.repeat(length)
    unpacked(dir, tarOf([{ path: name, mode: 0o644, uid: 0, content: Buffer.from(String(length)) }]))
    t.equal(readFileSync(join(dir, name), 'utf8'), String(length))
  }
})

t.test('owners are kept', async (t) => {
  const tar = tarOf([{ path: 'once', mode: 0o600, uid: 10_001, content: Buffer.alloc(0) }])
  t.match(execFileSync('tar', ['-tvf', '-', '--numeric-owner'], { input: tar }).toString(), /^-rw------- 10001\/10001 /)
})
