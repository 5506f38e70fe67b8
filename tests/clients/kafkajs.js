// kafkajs against a broker: records, admin, groups with rebalances and a crash, and the words of refusals.
//
//   node kafkajs.js BOOTSTRAP RAN_FILE
//   node kafkajs.js BOOTSTRAP --member GROUP TOPIC     a member of its own process, to be killed
//
// A check that holds is one line of RAN_FILE.
'use strict'

const assert = require('node:assert/strict')
const { fork } = require('node:child_process')
const fs = require('node:fs')
const { Kafka, CompressionTypes, ConfigResourceTypes, logLevel } = require('kafkajs')

const PATIENCE_MS = 45_000
const SESSION_MS = 6_000

const [bootstrap, ranFile, ...memberOf] = process.argv.slice(2)
const kafka = new Kafka({ clientId: 'kafkajs', brokers: [bootstrap], logLevel: logLevel.ERROR, retry: { retries: 8, initialRetryTime: 100, maxRetryTime: 1000 } })

const until = async (what, holds) => {
  const deadline = Date.now() + PATIENCE_MS
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 100))
  }
}

const refused = async (what, type, words, action) => {
  try {
    await action()
  } catch (error) {
    // kafkajs wraps what it has given up to repeat.
    const cause = error.errors?.[0] ?? error.groups?.[0]?.error ?? error.cause ?? error
    assert.equal(cause.type ?? error.type, type, `${what}: ${error}`)
    assert.ok(`${cause.message} ${error.message}`.includes(words), `${what}: the words are '${cause.message}', not '${words}'`)
    return
  }
  throw new Error(`${what} was not refused`)
}

// A consumer that notes what it is given: partitions owned, offsets read.
const member = async (groupId, topic, settings = {}) => {
  const consumer = kafka.consumer({ groupId, sessionTimeout: SESSION_MS, heartbeatInterval: 500, rebalanceTimeout: 10_000, maxWaitTimeInMs: 500, ...settings })
  const seen = { consumer, owned: [], joins: 0, offsets: {} }
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    seen.joins += 1
    seen.owned = payload.memberAssignment[topic] ?? []
  })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    autoCommitInterval: 200,
    eachMessage: async ({ partition, message }) => {
      (seen.offsets[partition] ??= []).push(Number(message.offset))
    },
  })
  return seen
}

const shared = (members, count) => until(`the members share ${count} partitions`, () => {
  const owned = members.flatMap(one => one.owned)
  return owned.length === count && new Set(owned).size === count && members.every(one => one.owned.length > 0)
})

const offsetsOf = (members, partition) => new Set(members.flatMap(one => one.offsets[partition] ?? []))
const hasRead = (members, partitions, end, start = 0) => until(`offsets ${start} to ${end - 1} are read`, () =>
  [...Array(partitions).keys()].every(partition => {
    const offsets = offsetsOf(members, partition)
    for (let offset = start; offset < end; offset++) if (!offsets.has(offset)) return false
    return true
  }))

const write = async (producer, topic, partitions, count) => {
  const messages = []
  for (let partition = 0; partition < partitions; partition++) for (let n = 0; n < count; n++) messages.push({ partition, key: `k${n}`, value: `v${n}` })
  await producer.send({ topic, acks: -1, messages })
}

const committed = async (admin, groupId, topic) =>
  Object.fromEntries((await admin.fetchOffsets({ groupId, topics: [topic] }))[0].partitions.map(p => [p.partition, Number(p.offset)]))

// Kafka answers before every broker knows of the topic, and the wait of kafkajs itself gives up at the first look.
const makeTopic = async (admin, topic, numPartitions) => {
  await admin.createTopics({ topics: [{ topic, numPartitions }], waitForLeaders: false })
  await until(`${topic} is listed`, async () => (await admin.listTopics()).includes(topic))
}

const highOf = async (admin, topic) => Object.fromEntries((await admin.fetchTopicOffsets(topic)).map(o => [o.partition, Number(o.high)]))

const checks = {
  // Keys, headers, tombstones and times come back, in the codecs that kafkajs has of itself.
  async records(admin, producer) {
    await makeTopic(admin, 'js-records', 1)
    const sent = []
    for (const compression of [CompressionTypes.None, CompressionTypes.GZIP]) {
      const messages = [
        { key: 'a', value: 'one', headers: { h: 'x' }, timestamp: String(Date.now()) },
        { key: 'b', value: null },
        { key: null, value: '' },
        { key: 'c', value: 'z'.repeat(200_000) },
      ]
      const [answer] = await producer.send({ topic: 'js-records', compression, messages })
      assert.equal(answer.errorCode, 0)
      assert.equal(Number(answer.baseOffset), sent.length)
      sent.push(...messages)
    }
    const got = []
    const consumer = kafka.consumer({ groupId: 'js-records', maxWaitTimeInMs: 500 })
    await consumer.connect()
    await consumer.subscribe({ topics: ['js-records'], fromBeginning: true })
    await consumer.run({ eachMessage: async ({ message }) => { got.push(message) } })
    await until('all records are read', () => got.length >= sent.length)
    await consumer.disconnect()
    assert.equal(got.length, sent.length)
    sent.forEach((wanted, n) => {
      assert.equal(Number(got[n].offset), n)
      assert.equal(got[n].key?.toString() ?? null, wanted.key)
      assert.equal(got[n].value?.toString() ?? null, wanted.value)
      if (wanted.headers) assert.equal(got[n].headers.h.toString(), 'x')
      if (wanted.timestamp) assert.equal(got[n].timestamp, wanted.timestamp)
    })
  },

  async idempotent(admin) {
    await makeTopic(admin, 'js-idempotent', 1)
    const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    for (let n = 0; n < 20; n++) await producer.send({ topic: 'js-idempotent', messages: [{ value: `${n}` }] })
    await producer.disconnect()
    assert.equal((await admin.fetchTopicOffsets('js-idempotent'))[0].high, '20')
  },

  async admin(admin, producer) {
    assert.equal(await admin.createTopics({ topics: [{ topic: 'js-admin', numPartitions: 2, configEntries: [{ name: 'retention.ms', value: '3600000' }] }], waitForLeaders: false }), true)
    await until('the topic is listed', async () => (await admin.listTopics()).includes('js-admin'))
    assert.equal(await admin.createTopics({ topics: [{ topic: 'js-admin', numPartitions: 2 }] }), false, 'a topic that is there is not made again')
    const cluster = await admin.describeCluster()
    assert.equal(cluster.clusterId.length, 22)
    assert.ok(cluster.brokers.some(broker => broker.nodeId === cluster.controller), 'the controller is one of the brokers')
    await admin.createPartitions({ topicPartitions: [{ topic: 'js-admin', count: 3 }] })
    await until('three partitions', async () => (await admin.fetchTopicMetadata({ topics: ['js-admin'] })).topics[0].partitions.length === 3)
    await write(producer, 'js-admin', 3, 10)
    await admin.deleteTopicRecords({ topic: 'js-admin', partitions: [{ partition: 1, offset: '4' }] })
    const offsets = await admin.fetchTopicOffsets('js-admin')
    assert.deepEqual(offsets.map(o => [o.partition, o.low, o.high]).sort(), [[0, '0', '10'], [1, '4', '10'], [2, '0', '10']])
    const byTime = await admin.fetchTopicOffsetsByTimestamp('js-admin', 0)
    assert.deepEqual(byTime.map(o => o.offset).sort(), ['0', '0', '4'])
    const resource = { type: ConfigResourceTypes.TOPIC, name: 'js-admin' }
    await admin.alterConfigs({ resources: [{ ...resource, configEntries: [{ name: 'max.message.bytes', value: '200000' }] }] })
    const described = await admin.describeConfigs({ resources: [resource] })
    const value = name => described.resources[0].configEntries.find(entry => entry.configName === name).configValue
    assert.equal(value('max.message.bytes'), '200000')
    assert.equal(value('retention.ms'), '604800000', 'AlterConfigs resets what it does not name')
    const broker = await admin.describeConfigs({ resources: [{ type: ConfigResourceTypes.BROKER, name: String(cluster.controller) }] })
    assert.ok(broker.resources[0].configEntries.length > 100, `a broker has more than ${broker.resources[0].configEntries.length} configs`)
    await refused('acls without an authorizer', 'SECURITY_DISABLED', 'Security features are disabled', () =>
      admin.describeAcls({ resourceType: 2, resourceName: 'js-admin', resourcePatternType: 3, operation: 1, permissionType: 1, principal: 'User:a', host: '*' }))
    await admin.deleteTopics({ topics: ['js-admin'] })
    await until('the topic is gone', async () => !(await admin.listTopics()).includes('js-admin'))
  },

  // Members come and go; one is killed; what they read together has no hole, and the next begins at what is committed.
  async group(admin, producer) {
    await makeTopic(admin, 'js-group', 4)
    await write(producer, 'js-group', 4, 50)
    const one = await member('js-group', 'js-group')
    await shared([one], 4)
    await hasRead([one], 4, 50)
    const two = await member('js-group', 'js-group')
    await shared([one, two], 4)
    await write(producer, 'js-group', 4, 50)
    await hasRead([one, two], 4, 100)
    const described = (await admin.describeGroups(['js-group'])).groups[0]
    assert.deepEqual([described.state, described.protocolType, described.protocol, described.members.length], ['Stable', 'consumer', 'RoundRobinAssigner', 2])
    const child = fork(__filename, [bootstrap, '--member', 'js-group', 'js-group'])
    const third = { owned: [], offsets: {} }
    child.on('message', owned => { third.owned = owned })
    await shared([one, two, third], 4)
    const killed = Date.now()
    child.kill('SIGKILL')
    await shared([one, two], 4)
    assert.ok(Date.now() - killed > SESSION_MS - 1500, 'a killed member keeps its partitions for its session')
    await write(producer, 'js-group', 4, 50)
    await hasRead([one, two], 4, 150, 100)
    await one.consumer.disconnect()
    await shared([two], 4)
    await two.consumer.disconnect()
    // The producer is not idempotent: what it repeats may be there twice, so the ends are asked for.
    const ends = await highOf(admin, 'js-group')
    assert.deepEqual(await committed(admin, 'js-group', 'js-group'), ends)
    await write(producer, 'js-group', 4, 1)
    const next = await member('js-group', 'js-group')
    await until('the new record of each partition is read', () => [0, 1, 2, 3].every(partition => next.offsets[partition]?.includes(ends[partition])))
    assert.ok([0, 1, 2, 3].every(partition => next.offsets[partition][0] === ends[partition]), 'the next member begins at what is committed')
    await refused('deleting a group with a member', 'NON_EMPTY_GROUP', 'The group is not empty', () => admin.deleteGroups(['js-group']))
    await next.consumer.disconnect()
    await admin.resetOffsets({ groupId: 'js-group', topic: 'js-group', earliest: true })
    // kafkajs commits the special offset itself; whoever joins next begins at the start.
    assert.deepEqual(await committed(admin, 'js-group', 'js-group'), { 0: -2, 1: -2, 2: -2, 3: -2 })
    const again = await member('js-group', 'js-group')
    await hasRead([again], 4, 151)
    await again.consumer.disconnect()
    assert.ok((await admin.listGroups()).groups.some(group => group.groupId === 'js-group' && group.protocolType === 'consumer'))
    await admin.deleteGroups(['js-group'])
    await refused('deleting it again', 'GROUP_ID_NOT_FOUND', 'The group id was not found', () => admin.deleteGroups(['js-group']))
  },

  async refusals(admin, producer) {
    await makeTopic(admin, 'js-refused', 1)
    await refused('a name with a slash', 'INVALID_TOPIC_EXCEPTION', 'attempted to perform an operation on an invalid topic', () =>
      admin.createTopics({ topics: [{ topic: 'js/refused', numPartitions: 1 }] }))
    await refused('fewer partitions', 'INVALID_PARTITIONS', 'Number of partitions is invalid', () =>
      admin.createPartitions({ topicPartitions: [{ topic: 'js-refused', count: 1 }] }))
    await refused('a record that is too large', 'MESSAGE_TOO_LARGE', 'larger than the max message size', () =>
      producer.send({ topic: 'js-refused', messages: [{ value: Buffer.alloc(1_200_000, 1) }] }))
    await refused('a session of two seconds', 'INVALID_SESSION_TIMEOUT', 'session timeout is not within the range', async () => {
      const consumer = kafka.consumer({ groupId: 'js-refused', sessionTimeout: 2000, heartbeatInterval: 500, retry: { retries: 0 } })
      await consumer.connect()
      await consumer.subscribe({ topics: ['js-refused'] })
      const crash = new Promise((_, reject) => consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error)))
      await consumer.run({ eachMessage: async () => {} })
      try {
        await crash
      } finally {
        await consumer.disconnect()
      }
    })
  },
}

const main = async () => {
  const admin = kafka.admin()
  await admin.connect()
  const failed = []
  for (const [name, check] of Object.entries(checks)) {
    const started = Date.now()
    // A producer asks for every topic that it ever wrote to, deleted ones too: each check has its own.
    const producer = kafka.producer()
    try {
      await producer.connect()
      await check(admin, producer)
      console.log(`-- ${name} holds after ${Date.now() - started} ms`)
      fs.appendFileSync(ranFile, `${name}\n`)
    } catch (error) {
      failed.push(name)
      console.log(`FAILED ${name}: ${error.stack}`)
    }
    await producer.disconnect()
  }
  await admin.disconnect()
  process.exit(failed.length ? 1 : 0)
}

const runMember = async ([groupId, topic]) => {
  const one = await member(groupId, topic)
  one.consumer.on(one.consumer.events.GROUP_JOIN, ({ payload }) => process.send(payload.memberAssignment[topic] ?? []))
  process.send(one.owned)
}

(ranFile === '--member' ? runMember(memberOf) : main()).catch(error => {
  console.error(error)
  process.exit(1)
})
