-- The ten questions of `qserv demo`: a title, a query, an empty line.

-- How many measurements are there? (The metadata knows.)
SELECT COUNT(*) AS measurements FROM hip.ForcedSource

-- One star by its number: Vega. (The index knows its chunk.)
SELECT objectId, ra, dec, parallax, Hpmag FROM hip.Object WHERE objectId = 91262

-- Three stars by their numbers: Polaris, Proxima Centauri, Vega
SELECT objectId, ra, dec, 1000 / parallax AS parsecs, Hpmag
FROM hip.Object WHERE objectId IN (11767, 70890, 91262) ORDER BY parsecs

-- A cone in the dense field, one arcminute wide
SELECT TOP 5 objectId, ra, dec, rMag, gMag - rMag AS g_r, redshift
FROM deep.Object
WHERE CONTAINS(POINT(ra, dec), CIRCLE(150.1, 2.2, 0.0083333)) = 1
  AND rMag < 26 ORDER BY rMag

-- A polygon: Orion's brightest
SELECT TOP 7 objectId, ra, dec, Hpmag, B_V FROM hip.Object
WHERE CONTAINS(POINT(ra, dec),
      POLYGON(75, -12, 92, -12, 92, 11, 75, 11)) = 1 ORDER BY Hpmag

-- The light curve of Polaris: a join of two tables in one chunk
SELECT TOP 8 o.objectId, f.name AS band, s.mjd, s.psfFlux, s.psfFluxErr
FROM hip.Object AS o
JOIN hip.Source AS s ON s.objectId = o.objectId
JOIN hip.Filter AS f ON f.filterId = s.filterId
WHERE o.objectId = 11767 AND f.name = 'V' ORDER BY s.mjd

-- All 3.2 million measurements by filter
SELECT f.name, COUNT(*) AS n, AVG(fs.psfFlux) AS mean_flux,
       AVG(fs.psfFlux / fs.psfFluxErr) AS mean_snr
FROM hip.ForcedSource AS fs JOIN hip.Filter AS f
  ON f.filterId = fs.filterId
GROUP BY f.name ORDER BY f.name

-- Variable stars: scatter over mean, star by star, in one filter
SELECT TOP 5 objectId, COUNT(*) AS n,
       STDDEV(psfFlux) / AVG(psfFlux) AS scatter
FROM hip.Source WHERE filterId = 3
GROUP BY objectId
HAVING COUNT(*) >= 5 AND STDDEV(psfFlux) > 0.4 * AVG(psfFlux)
ORDER BY scatter DESC

-- How many stars were ever detected in each filter
SELECT filterId, COUNT(DISTINCT objectId) AS stars, COUNT(*) AS detections
FROM hip.Source GROUP BY filterId ORDER BY filterId

-- Neighbours: pairs within 3 arcseconds, across chunk borders too
SELECT COUNT(*) AS pairs, AVG(DISTANCE(a.ra, a.dec, b.ra, b.dec)) * 3600
       AS mean_arcsec
FROM deep.Object AS a JOIN deep.Object AS b
  ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.000833333
WHERE a.objectId < b.objectId
