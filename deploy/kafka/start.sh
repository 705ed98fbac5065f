#!/bin/sh
# Formats the log of a fresh volume and becomes the broker; the same in the official image and in ours.
set -eu
java -cp '/opt/kafka/libs/*' kafka.tools.StorageTool format --ignore-formatted \
    -t ZmlidGVzdC1jbHVzdGVyMQ -c /etc/kafka/server.properties
exec java -Xmx"${KAFKA_MEMORY:-512m}" -XX:+ExitOnOutOfMemoryError -Dlog4j2.configurationFile=/etc/kafka/log4j2.properties \
    -cp '/opt/kafka/libs/*' kafka.Kafka /etc/kafka/server.properties
