/** All peers. A file's name is also what the processes of the peer are told to load. */
import type { Subject } from '../rig.ts'
import { peer as bullmq } from './bullmq.ts'
import { peer as graphileWorker } from './graphile-worker.ts'
import { peer as liteque } from './liteque.ts'
import { peerSubject } from './peer.ts'
import { peer as pgBoss } from './pg-boss.ts'
import { peer as plainjob } from './plainjob.ts'

export const peers: readonly Subject[] = [
  peerSubject('plainjob', plainjob),
  peerSubject('bullmq', bullmq),
  peerSubject('pg-boss', pgBoss),
  peerSubject('graphile-worker', graphileWorker),
  peerSubject('liteque', liteque),
]
