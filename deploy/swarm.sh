#!/usr/bin/env bash
# Runs the system on a Docker Swarm whose manager this machine is (docker swarm init).
#   deploy/swarm.sh up               start it, or bring it up to date
#   deploy/swarm.sh pages            Grafana on http://127.0.0.1:3000 (BIND, GRAFANA_PORT)
#   deploy/swarm.sh simulate         a simulated microscope (SEED, PERIOD_S, NUCLEI)
#   deploy/swarm.sh operate VERB...  any verb of fibsem-nuclei that looks after an acquisition
#   deploy/swarm.sh down             stop it; volumes stay
# More replicas: docker service scale fibsem_inference=3. STACK, IMAGES, VERSION, DATA, DATA_NODE: see swarm.yml.
# RESOLVE_IMAGE=never where the images of every node were loaded rather than pulled.
set -euo pipefail
cd "$(dirname "$0")"
stack=${STACK:-fibsem}
images=${IMAGES:-fibsem-nuclei}
version=${VERSION:-0.1.0}
plain=(--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges:true)

up() {
  python3 make_secrets.py
  ALERTMANAGER_CONFIG=alertmanager/silent.yml
  if [ -e .secrets/alertmanager.env ]; then
    docker run --rm "${plain[@]}" --network none --user "$(id -u):$(id -g)" --env-file .secrets/alertmanager.env \
      -v "$PWD/alertmanager:/alertmanager:ro" -v "$PWD/.secrets:/secrets" "$images/services:$version" \
      python /alertmanager/render.py /secrets/alertmanager.yml
    ALERTMANAGER_CONFIG=.secrets/alertmanager.yml
  fi
  # Configs cannot change: new content is a new name.
  CONFIG=$(cat kafka/*.sh kafka/*.properties prometheus/prometheus.yml prometheus/rules/*.yml "$ALERTMANAGER_CONFIG" \
    | sha256sum | cut -c1-12)
  export ALERTMANAGER_CONFIG CONFIG
  docker stack deploy --resolve-image "${RESOLVE_IMAGE:-always}" -c swarm.yml ${GPU:+-c swarm.gpu.yml} "$stack"
}

pages() {
  docker rm -f "$stack-pages" >/dev/null 2>&1 || true
  docker create --name "$stack-pages" --restart unless-stopped "${plain[@]}" --memory 512m \
    --network "${stack}_outside" -p "${BIND:-127.0.0.1}:${GRAFANA_PORT:-3000}:3000" \
    --env-file .secrets/grafana.env -e GF_ANALYTICS_REPORTING_ENABLED=false -e GF_ANALYTICS_CHECK_FOR_UPDATES=false \
    -e GF_USERS_ALLOW_SIGN_UP=false -v "${stack}_grafana:/var/lib/grafana" \
    -v "$PWD/grafana/provisioning:/etc/grafana/provisioning:ro" -v "$PWD/grafana/dashboards:/etc/grafana/dashboards:ro" \
    grafana/grafana:12.2.1 >/dev/null
  docker network connect "${stack}_inside" "$stack-pages"
  docker start "$stack-pages" >/dev/null
  echo "Grafana: http://localhost:${GRAFANA_PORT:-3000} (admin; password in deploy/.secrets/grafana.env)"
}

simulate() {
  docker run -d --rm --name "$stack-microscope" "${plain[@]}" --network none -e NUMBA_CACHE_DIR=/tmp/numba \
    -v "${DATA:-${stack}_acquisition}:/data" "$images/services:$version" \
    python -m services.simulator /data --seed "${SEED:-1}" --period-s "${PERIOD_S:-1}" --nuclei "${NUCLEI:-3}"
}

operate() {
  docker run --rm "${plain[@]}" --network "${stack}_inside" --env-file .secrets/operator.env \
    -e FIBSEM_KAFKA__BOOTSTRAP=kafka:9092 -e FIBSEM_S3__ENDPOINT=http://minio:9000 \
    -v "${RESULTS:-${stack}_results}:/results" "$images/services:$version" fibsem-nuclei "$@"
}

down() {
  docker rm -f "$stack-pages" "$stack-microscope" >/dev/null 2>&1 || true
  docker stack rm "$stack"
}

case ${1:-} in
  up | pages | simulate | operate | down) "$@" ;;
  *) sed -n '2,9p' swarm.sh; exit 2 ;;
esac
