# Sourced by ./run and ./test: finds a Python that is new enough and can make virtual environments.
# Sets PYTHON, or says in one sentence what to do and ends with 3.

find_python() {
    local candidate version seen=""
    for candidate in "${AMANAT_PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
        [ -n "$candidate" ] || continue
        command -v "$candidate" >/dev/null 2>&1 || continue
        version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        seen="${seen:+$seen, }$version"
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            PYTHON=$candidate
            PYTHON_VERSION=$version
            break
        fi
    done
    if [ -z "${PYTHON:-}" ]; then
        echo "Amanat needs Python 3.11 or newer (found: ${seen:-none}). On Debian or Ubuntu this installs it:" >&2
        echo "    sudo apt-get install -y python3 python3-venv" >&2
        exit 3
    fi
    if ! "$PYTHON" -c 'import venv, ensurepip' >/dev/null 2>&1; then
        echo "This Python $PYTHON_VERSION lacks its module venv. On Debian or Ubuntu this installs it:" >&2
        echo "    sudo apt-get install -y python$PYTHON_VERSION-venv" >&2
        exit 3
    fi
}
