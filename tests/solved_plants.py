"Are exercises without an accepted solution found? Run alone: `python tests/solved_plants.py`."
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]/'tools'))

from attn_course import exercise
from run_nbs import ROOT, heard, unsolved


def main() -> int: # exit status
    "Solve one exercise of chapter 7, answer another wrongly, and ask what is left."
    chapter, check = ROOT/'nbs'/'07_cam.ipynb', exercise.check
    with heard() as right:
        exercise.check('07.1', lambda a_map: a_map.sum())
        exercise.check('07.3', lambda acts, grads: acts.sum(1))
    rules = {
        'a right answer is heard, a wrong one is not': right == {'07.1'},
        'what is left is told': unsolved(chapter, right) == ['07.2', '07.3', '07.4'],
        'nothing is left': not unsolved(chapter, {'07.1', '07.2', '07.3', '07.4'}),
        'no chapter, no exercises': not unsolved(ROOT/'nbs'/'workbench'/'05_exercise.ipynb', set()),
        'all is as before': exercise.check is check}
    for rule, holds in rules.items(): print('ok   ' if holds else 'FAIL ', rule)
    print(f'{sum(rules.values())} passed, {len(rules) - sum(rules.values())} failed')
    return int(not all(rules.values()))


if __name__ == '__main__': sys.exit(main())
