"""What an operator sees while a playbook runs: one line for each long step and each verdict, every error, every diff.

Steps are told by the tag `progress`, verdicts by the tag `verdict` on a debug task. `fleet.sh --verbose` shows Ansible's own
output instead.
"""

import time

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: fleet
    type: stdout
    short_description: progress of a fleet, one line a step
    description: [Progress of a fleet, one line a step.]
    extends_documentation_fragment: [default_callback]
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "fleet"

    def __init__(self):
        super().__init__()
        self._lost = set()

    def _line(self, host, text):
        self._display.display(f"{time.strftime('%H:%M:%S')}  {host:<16} {text}")

    def v2_playbook_on_play_start(self, play):
        self._lost.clear()
        self._display.display(f"── {play.get_name()}")

    def v2_runner_on_start(self, host, task):
        # What a task waits for is not known yet; of a board that is lost nothing more is expected.
        if "progress" in task.tags and not context.CLIARGS.get("check") and host.name not in self._lost:
            self._line(host.name, task.get_name().split(" : ")[-1])

    def v2_runner_on_ok(self, result):
        if "verdict" in result._task.tags:
            self._line(result._host.name, result._result.get("msg", ""))

    def v2_runner_on_failed(self, result, ignore_errors=False):
        # The items of a loop were told one by one.
        if not ignore_errors and "results" not in result._result:
            self._line(result._host.name, self._reason(result))

    def v2_runner_item_on_failed(self, result):
        self._line(result._host.name, self._reason(result))

    def v2_runner_on_unreachable(self, result):
        # Told once a play.
        if result._host.name not in self._lost:
            self._line(result._host.name, f"not reachable: {str(result._result.get('msg', '')).strip()}")
        self._lost.add(result._host.name)

    def v2_runner_retry(self, result):
        self._line(result._host.name, f"again: {result._task.get_name()}")

    def v2_on_file_diff(self, result):
        # Some modules tell their diff also where the task wants none.
        found = result._result.get("diff") if result._task.diff is not False else None
        text = self._get_diff(found) if found and not result._result.get("_ansible_no_log") else ""
        if text:
            self._line(result._host.name, f"would change {result._result.get('dest', '')}".rstrip())
            self._display.display(text)

    @staticmethod
    def _reason(result):
        said = result._result
        lines = [said.get("msg"), said.get("stderr"), said.get("module_stderr")]
        text = "; ".join(dict.fromkeys(str(line).strip() for line in lines if line))
        return text if "assert" in result._task.action else f"{result._task.get_name()}: {text}"
